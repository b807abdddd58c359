# systemd as process 1 of a container, as images of whole systems have it: it boots, has services with limits of their own, and shuts down.
k="$bin --root $t/pid1"
r=$t/pid1-root
debian $r
mkdir -p $r/var $r/root $r/etc/systemd/system/multi-user.target.wants
cp /etc/os-release /etc/passwd /etc/group /etc/nsswitch.conf $r/etc/
# One that has been started before: else systemd asks who is there.
echo 0123456789abcdef0123456789abcdef > $r/etc/machine-id
ln -sf /usr/lib/systemd/system/multi-user.target $r/etc/systemd/system/default.target
cat > $r/etc/systemd/system/made.service << 'UNIT'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo boot >> /root/made'
ExecStop=/bin/sh -c 'echo end >> /root/made'
UNIT
cat > $r/etc/systemd/system/small.service << 'UNIT'
[Service]
MemoryMax=20M
TasksMax=7
ExecStart=/bin/sleep 1000000
UNIT
for name in made small; do ln -sf ../$name.service $r/etc/systemd/system/multi-user.target.wants/; done
state() { $k inspect --format '{{.State.Status}} {{.State.ExitCode}}' sysd; }
in_sysd() { $k exec sysd "$@"; }
booted() { in_sysd systemctl is-system-running | sed 's/^degraded$/running/'; }
made() { tr '\n' ' ' < $r/root/made; }
# 20 seconds are its time to boot on this machine, not its deadline: comes() waits for two minutes.
$k run -d --name sysd --net=none -m 300m -v /usr:/usr:ro --rootfs $r /lib/systemd/systemd > /dev/null; is 'run' $? 0
comes 'it boots' running booted
is 'nothing failed' "$(in_sysd systemctl --failed --no-legend --plain)" ''
is 'its services run' "$(in_sysd systemctl is-active made small | tr '\n' ' ') $(made)" 'active active  boot '
is 'it knows where it is' "$(in_sysd systemd-detect-virt --container)" podman
group=/sys/fs/cgroup$($k inspect --format '{{.State.CgroupPath}}' sysd)
is 'limits of a service inside' "$(in_sysd cat /sys/fs/cgroup/system.slice/small.service/memory.max /sys/fs/cgroup/system.slice/small.service/pids.max | tr '\n' ' ')" '20971520 7 '
is 'below those of the container' "$(cat $group/memory.max)" 314572800
is 'exec does not hinder it' "$(in_sysd sh -c 'cat /proc/self/cgroup' | grep -c '^0::/')" 1
is 'systemd-run inside' "$(in_sysd systemd-run --quiet --wait --pipe -p MemoryMax=30M sh -c 'cat /sys/fs/cgroup$(sed s/^0::// /proc/self/cgroup)/memory.max')" 31457280
is 'its journal' "$(in_sysd journalctl --no-pager -o cat -u small.service | grep -c Started)" 1
is 'stats' "$($k stats --no-stream --format '{{.MemUsage}}' sysd | grep -c '/ 314.6MB')" 1
$k stop -t 120 sysd > /dev/null; is 'stop shuts it down' "$? $(state) $(made)" '0 exited 0 boot end '
$k start sysd > /dev/null
comes 'it boots again' running booted
$k restart -t 120 sysd > /dev/null; is 'restart' $? 0
comes 'and again' running booted
is 'each time in order' "$(made)" 'boot end boot end boot '
in_sysd systemctl poweroff > /dev/null 2>&1
comes 'poweroff inside' 'exited 0' state
$k rm -f -t0 sysd > /dev/null; is 'rm' $? 0

# Its readiness is that of the service which runs it: systemd tells, as any program would.
systemd-run --user --quiet --collect --unit kt-pid1 -p Type=notify -p NotifyAccess=all -p TimeoutStartSec=600 -p TimeoutStopSec=300 -p Delegate=yes \
    $k run --rm --name sysd --net=none --cgroups=split --sdnotify=container -v /usr:/usr:ro --rootfs $r /lib/systemd/systemd
is 'ready when it has booted' "$? $(systemctl --user is-active kt-pid1) $(booted)" '0 active running'
systemctl --user stop kt-pid1; is 'systemctl stop shuts it down' "$? $(made)" '0 boot end boot end boot end boot end '
comes 'nothing is left' '' $k ps -aq
comes 'no scope is left' '' systemctl --user list-units --all --plain --no-legend 'ketch-*.scope'
$bin unshare rm -rf $r
done_here
