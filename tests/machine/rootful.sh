# Networks, limits and volumes of root's own containers, in the machine's own namespaces.
k="$bin --root /root/ketch-test"
r=/var/lib/ketch-rootfs
rootfs $r httpd wget cat tail id touch ls head mknod wc
echo page > $r/page
$k network check > /tmp/check; is 'network check' $? 0
$k network create back > /dev/null; is 'network create' $? 0
$k run -d --name web --network back -p 80:80 -p '[::1]:8086:80' --rootfs $r httpd -f -p 80 -h / > /dev/null; is 'run -p 80:80' $? 0
# Until the server listens.
for _ in $(seq 60); do curl -s -o /dev/null http://127.0.0.1/page && break; sleep 1; done
is 'a port below 1024' "$(curl -s http://127.0.0.1/page)" page
is 'an IPv6 port' "$(curl -s -g 'http://[::1]:8086/page')" page
is 'by name' "$($k run --rm --network back --rootfs $r wget -qO- http://web/page)" page
is 'limits' "$($k run --rm -m 64m --cpus 0.5 --pids-limit 20 --rootfs $r sh -c 'read a < /sys/fs/cgroup/memory.max; read b < /sys/fs/cgroup/cpu.max; read c < /sys/fs/cgroup/pids.max; echo $a $b $c')" '67108864 50000 100000 20'
is 'in machine.slice' "$($k inspect --format '{{.State.CgroupPath}}' web | grep -c '^/machine.slice/ketch-')" 1
$k run --net=none --name=eater -m 24m --memory-swap 24m --rootfs $r sh -c 'tail /dev/zero' > /dev/null 2>&1; is 'out of memory' $? 137
is 'OOMKilled' "$($k inspect --format '{{.State.OOMKilled}}' eater)" true
$k pause web > /dev/null && $k unpause web > /dev/null; is 'pause and unpause' $? 0
$k update -m 80m web > /dev/null && is 'update' "$($k exec web cat /sys/fs/cgroup/memory.max)" 83886080
# Devices: the kernel asks for each by its numbers, as with podman.
disk=$(lsblk -ndo PATH -e 1,2,7,11 | head -n 1)
numbers=$(lsblk -ndo MAJ:MIN $disk | tr -d ' ')
look="head -c1 /x > /dev/null 2>&1 && echo opened || echo refused"
is 'a disk in a mount' "$($k run --rm --net=none -v $disk:/x --rootfs $r sh -c "$look")" refused
is 'the usual devices' "$($k run --rm --net=none --rootfs $r sh -c 'head -c1 /dev/urandom | wc -c; echo x > /dev/null && echo fine')" "1
fine"
is '--device' "$($k run --rm --net=none --device $disk:/x:r --rootfs $r sh -c "$look; (: >> /x) 2> /dev/null && echo written || echo read-only")" 'opened
read-only'
is '--device-cgroup-rule' "$($k run --rm --net=none -v $disk:/x --device-cgroup-rule "b $numbers r" --rootfs $r sh -c "$look")" opened
is 'a node of its own' "$($k run --rm --net=none --cap-add mknod --device-cgroup-rule "b $numbers r" --rootfs $r sh -c "mknod /dev/y b ${numbers%:*} ${numbers#*:}; head -c1 /dev/y > /dev/null && echo opened")" opened
is 'a node of its own, the usual' "$($k run --rm --net=none --cap-add mknod --rootfs $r sh -c "mknod /dev/y c 1 3; mknod /x c 1 3; echo x > /dev/y && echo x > /x && echo written; mknod /z b ${numbers%:*} ${numbers#*:}; head -c1 /z > /dev/null 2>&1 || echo refused")" 'written
refused'
is '--privileged' "$($k run --rm --net=none --privileged -v $disk:/x --rootfs $r sh -c "$look")" opened
$k run -d --net=none --name dev -v $disk:/x --rootfs $r sleep 1000 > /dev/null
is 'exec, too' "$($k exec dev sh -c "$look")" refused
# Whose IDs they are, as with podman.
for file in /etc/subuid /etc/subgid; do grep -q '^containers:' $file || echo containers:2000000:65536 >> $file; done
mapped() { $k run --rm --net=none --userns=auto "$@" cat /proc/self/uid_map 2>&1 | awk '$1 == 0 && $2 >= 2000000 {print "mapped"; next} {print}' | grep -v '^unpacking'; }
tar -C $r -c . | $k import -q - bb > /dev/null
is '--userns=auto' "$(mapped bb)" mapped
# Files of IDs that the container has not, in a directory that is closed to its root.
mkdir -p /root/ketch-owned && touch /root/ketch-owned/f && chown 5:6 /root/ketch-owned/f
owned() { $k run --rm --net=none --userns=auto "$@" bb sh -c 'touch /c/new; exec ls -ln /c' 2> /dev/null | awk '/^-/ {print $3 ":" $4}' | xargs; }
is ':idmap' "$(owned -v /root/ketch-owned:/c:idmap)" '5:6 0:0'
is 'what is written through it' "$(stat -c %u:%g /root/ketch-owned/new)" 0:0
is ':U' "$(owned -u 3:4 -v /root/ketch-owned:/c:U)" '3:4 3:4'
is 'outside' "$(expr "$(stat -c %u /root/ketch-owned/f)" - 3 '>=' 2000000)" 1
rm -rf /root/ketch-owned
$k volume create data > /dev/null
is 'a volume' "$($k run --rm --net=none -v data:/data --rootfs $r sh -c 'touch /data/x && echo made') $(ls "$($k volume inspect --format '{{.Mountpoint}}' data)")" 'made x'
$k rm -f -t0 -a > /dev/null
$k volume rm data > /dev/null
$k network rm back > /dev/null; is 'network rm' $? 0
comes 'no scope is left' '' systemctl list-units --all --plain --no-legend 'ketch-*.scope'
rm -rf /root/ketch-test $r
done_here
