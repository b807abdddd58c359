# Pods where the user's systemd hands out controllers: limits of all containers together, and what is left of a pod.
k="$bin --root $t/pods"
r=$t/proot
rootfs $r cat tail
of() { $k inspect --format "$2" "$1" 2>&1; }
slices() { systemctl --user list-units --type slice --all --no-legend --plain | grep -c "$1"; }

$k pod create --network=none -m 64m --cpus 0.5 --name limited > /dev/null; is 'pod create' $? 0
$k run -d --pod limited --name one -m 32m --rootfs $r sleep 100000 > /dev/null; is 'a container of it' $? 0
$k run -d --pod limited --name two --rootfs $r sleep 100000 > /dev/null; is 'another one' $? 0
# Above the container's own there is its scope.
above() { dirname "$(dirname "$(of "$1" '{{.State.CgroupPath}}')")"; }
group=$(above one)
is 'they have one above them' "$(above two)" "$group"
is 'whose limits hold' "$(cat /sys/fs/cgroup$group/memory.max /sys/fs/cgroup$group/cpu.max | tr '\n' ' ')" '67108864 50000 100000 '
is 'beside their own' "$($k exec one cat /sys/fs/cgroup/memory.max)" 33554432
# More than the pod may have, in a container that has no limit.
$k run --rm --pod limited --rootfs $r sh -c 'tail /dev/zero' > /dev/null 2>&1; is 'out of the memory of the pod' $? 137
is 'the others go on' "$(of one '{{.State.Running}}') $(of two '{{.State.Running}}')" 'true true'
$k pod stop -t 0 limited > /dev/null; is 'pod stop' $? 0
$k pod start limited > /dev/null; is 'pod start' "$? $(cat /sys/fs/cgroup$group/memory.max)" '0 67108864'
$k pod rm -f -t 0 limited > /dev/null; is 'pod rm' $? 0
comes 'its cgroup is gone' gone sh -c "[ -d /sys/fs/cgroup$group ] || echo gone"
is 'and its slice' "$(slices "$(basename "$group")")" 0
done_here
