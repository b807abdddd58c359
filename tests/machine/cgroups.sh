# What limits do to a program, where the user's systemd hands out controllers. SEC-36: a crowd of processes hurts its container only.
k="$bin --root $t/limits"
r=$t/lroot
rootfs $r cat tail head dd grep sed
state() { $k inspect --format "{{.State.$2}}" "$1"; }

# Memory.
$k run --net=none --name=eater -m 24m --memory-swap 24m --rootfs $r sh -c 'tail /dev/zero' > /dev/null 2>&1; is 'out of memory' $? 137
is 'OOMKilled' "$(state eater OOMKilled)" true
# A kill that nobody's hunger caused is none.
$k run -d --net=none --name=shot -m 24m --rootfs $r sleep 1000 > /dev/null; $k kill shot > /dev/null; $k wait shot > /dev/null
is 'killed is not OOMKilled' "$(state shot ExitCode) $(state shot OOMKilled)" '137 false'
$k run -d --net=none --name=twice -m 24m --memory-swap 24m --restart on-failure:2 --rootfs $r sh -c 'tail /dev/zero' > /dev/null
comes 'restarted after running out of memory' 'exited 2 true' $k inspect --format '{{.State.Status}} {{.RestartCount}} {{.State.OOMKilled}}' twice
is '--memory-reservation, --memory-swap' "$($k run --rm --net=none -m 64m --memory-reservation 32m --memory-swap 80m --rootfs $r cat /sys/fs/cgroup/memory.low /sys/fs/cgroup/memory.swap.max | tr '\n' ' ')" '33554432 16777216 '
# Either it could not begin, or it had just begun: then its code says that it was killed.
$k run --rm --net=none -m 1k --rootfs $r true > $out 2>&1; is 'too little memory to begin' "$(echo "$? $(grep -c OOM-killed $out)" | sed 's/^137 0$/125 1/')" '125 1'
is 'nothing is left of it' "$($k ps -aq --filter status=created | wc -l)" 0

# Processes.
is '--pids-limit' "$($k run --rm --net=none --pids-limit 4 --rootfs $r sh -c 'for i in 1 2 3 4 5 6; do sleep 9 & done; wait' 2>&1 | grep -c -i "can't fork" | sed 's/^[1-9].*/some/')" some
is 'the default --pids-limit' "$($k run --rm --net=none --rootfs $r cat /sys/fs/cgroup/pids.max)" 2048
is '--pids-limit -1' "$($k run --rm --net=none --pids-limit -1 --rootfs $r cat /sys/fs/cgroup/pids.max)" max
$k run -d --name=bomb --pids-limit 300 --cpus 0.5 --rootfs $r sh -c 'crowd() { crowd & crowd & wait; }; crowd & exec sleep 100000' > /dev/null 2>&1
group=/sys/fs/cgroup$($k inspect --format '{{.State.CgroupPath}}' bomb)
for _ in $(seq 120); do [ "$(cat $group/pids.peak)" -lt 300 ] || break; sleep 1; done
is 'a fork bomb fills its limit' "$(cat $group/pids.max) $(cat $group/pids.peak)" '300 300'
is 'others start beside it' "$($k run --rm --rootfs $r sh -c 'echo here' 2>&1)" here
$k rm -f -t0 bomb > /dev/null; is 'it can be removed' $? 0

# Processors.
$k run -d --net=none --name=busy --cpus 0.2 -m 64m --rootfs $r sh -c 'while :; do :; done' > /dev/null
is 'cpu.max' "$($k exec busy cat /sys/fs/cgroup/cpu.max)" '20000 100000'
group=/sys/fs/cgroup$($k inspect --format '{{.State.CgroupPath}}' busy)
before=$(head -n 1 $group/cpu.stat); sleep 5; after=$(head -n 1 $group/cpu.stat)
used=$((${after#usage_usec } - ${before#usage_usec }))
# A fifth of five seconds; sleep may take longer here.
is '--cpus 0.2 holds' "$(between 100000 $used 2500000)" yes
is 'throttled' "$([ "$(sed -n 's/^nr_throttled //p' $group/cpu.stat)" -gt 0 ] && echo yes)" yes
is '--cpuset-cpus' "$($k run --rm --net=none --cpuset-cpus 1 --rootfs $r sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status)" 1
is '--cpuset-mems' "$($k run --rm --net=none --cpuset-mems 0 --rootfs $r cat /sys/fs/cgroup/cpuset.mems)" 0
is '--cpu-shares' "$($k run --rm --net=none --cpu-shares 2048 --rootfs $r cat /sys/fs/cgroup/cpu.weight | sed 's/^[1-9][0-9]*$/a weight/')" 'a weight'
$k run --rm --net=none --cpuset-cpus 99 --rootfs $r true > $out 2>&1; is 'a processor that is none' "$? $(grep -c cpuset $out)" '125 1'

# Disks. The machine's only one is /dev/vda.
device=$(stat -c '%Hr:%Lr' /dev/vda)
is '--device-read-bps, --device-write-iops' "$($k run --rm --net=none --device-read-bps /dev/vda:1mb --device-write-iops /dev/vda:1000 --rootfs $r cat /sys/fs/cgroup/io.max)" "$device rbps=1048576 wbps=max riops=max wiops=1000"
dd if=/dev/urandom of=$r/noise bs=1M count=4 2> /dev/null; sync
begin=$SECONDS
$k run --rm --net=none --device-read-bps /dev/vda:1mb --rootfs $r dd if=/noise of=/dev/null bs=1M iflag=direct 2> /dev/null; is 'a direct read' $? 0
is '4 MB at 1 MB/s' "$(between 3 $((SECONDS - begin)) 600)" yes
is '--blkio-weight' "$($k run --rm --net=none --blkio-weight 500 --rootfs $r sh -c 'cat /sys/fs/cgroup/io.weight /sys/fs/cgroup/io.bfq.weight 2>/dev/null' 2>&1 | grep -c -e 'default' -e 'has no io')" 1
is '--cgroup-conf' "$($k run --rm --net=none --cgroup-conf memory.high=50000000 --rootfs $r cat /sys/fs/cgroup/memory.high)" 49999872

# While it runs.
$k update --cpus 0.5 -m 96m --memory-swap 96m --pids-limit 50 busy > /dev/null; is 'update' $? 0
is 'update at once' "$($k exec busy cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max | tr '\n' ' ')" '50000 100000 100663296 50 '
is 'stats' "$($k stats --no-stream --format '{{.MemUsage}}' busy | grep -o '100.7MB')" 100.7MB
is 'stats counts processes' "$($k stats --no-stream --format '{{.PIDs}}' busy)" 1
is 'stats of all' "$($k stats --no-stream --all --format '{{.Name}}' | grep -c -x -e busy -e eater)" 2
$k pause busy > /dev/null; is 'pause' "$(state busy Status)" paused
is 'frozen' "$(cat $group/cgroup.freeze 2> /dev/null || grep -h . $group/*/cgroup.freeze | head -n 1)" 1
before=$(head -n 1 $group/cpu.stat); sleep 2; is 'it stands still' "$(head -n 1 $group/cpu.stat)" "$before"
$k unpause busy > /dev/null; is 'unpause' "$(state busy Status)" running
is 'top' "$($k top busy | grep -c 'sh -c')" 1
$k restart -t0 busy > /dev/null
is 'the updated limits after a restart' "$($k exec busy cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max | tr '\n' ' ')" '50000 100000 100663296 '

# Whose cgroup it is.
# Process 1 has moved itself further down, as systemd and engines inside do: the container's own cgroup takes no processes then.
$k run -d --net=none --name=nested --rootfs $r sleep 1000 > /dev/null
pid=$($k inspect --format '{{.State.Pid}}' nested); leaf=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$pid/cgroup)
mkdir $leaf/init && echo $pid > $leaf/init/cgroup.procs && echo +pids > $leaf/cgroup.subtree_control
is 'exec beside nested cgroups' "$($k exec nested sh -c 'read a < /proc/self/cgroup; echo $a' 2>&1 | grep -o '/init$')" /init
is 'info' "$($k info --format '{{.Host.CgroupsVersion}} {{.Host.CgroupManager}}')" 'v2 systemd'
$k run -d --net=none --name=sliced --cgroup-parent ketchtest.slice -m 64m --rootfs $r sleep 1000 > /dev/null
is '--cgroup-parent' "$($k inspect --format '{{.State.CgroupPath}}' sliced | grep -o '/ketchtest.slice/')" /ketchtest.slice/
is '--cgroups=disabled' "$($k run --rm --net=none --cgroups=disabled --cgroupns=host --rootfs $r cat /proc/self/cgroup)" "$(cat /proc/self/cgroup)"
$k rm -f -t0 -a > /dev/null
is 'no cgroup is left' "$(ls -d $group $leaf 2> /dev/null)" ''
# systemd is to see that they are empty before they are gone, however they ended.
for n in 1 2 3 4; do
    $k run -d --net=none --name=brief --rootfs $r sleep 1000 > /dev/null
    [ $n -gt 2 ] || kill -9 "$(state brief ConmonPid)" "$(state brief Pid)"
    $k rm -f -t0 brief > /dev/null
done
comes 'no scope is left' '' systemctl --user list-units --all --plain --no-legend 'ketch-*.scope'

# Without systemd to make a scope of it.
own='systemd-run --user --scope --quiet -p Delegate=yes'
is '--cgroups=no-conmon in the own tree' "$($own $k --cgroup-manager=cgroupfs run --rm --net=none --cgroups=no-conmon -m 64m --rootfs $r cat /sys/fs/cgroup/memory.max 2>&1)" 67108864
is 'limits in the own tree' "$($own $k --cgroup-manager=cgroupfs run --rm --net=none -m 64m --pids-limit 7 --rootfs $r cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max 2>&1 | tr '\n' ' ')" '67108864 7 '
is '--cgroups=split' "$($own $k run --rm --net=none --cgroups=split -m 64m --rootfs $r cat /sys/fs/cgroup/memory.max 2>&1)" 67108864
rm -rf $r
done_here
