# Limits of a Compose project's services, in all their spellings: what the kernel was told, and what it does. Then what changes and ends.
k="$bin --root $t/compose"
p=$t/cproject
r=$t/croot
rootfs $r cat tail
tar -C $r -c . | $k import -q - bb > /dev/null; is 'import' $? 0
mkdir -p $p
cat > $p/compose.yaml << 'YAML'
services:
  short: {image: bb, command: &forever [sleep, '1000000'], init: true, network_mode: none, mem_limit: 64m, memswap_limit: 96m, mem_reservation: 32m, cpus: 0.5, pids_limit: 40, cpu_shares: 2048, cpuset: '1'}
  long:
    image: bb
    command: *forever
    network_mode: none
    deploy:
      replicas: 2
      resources: {limits: {cpus: '0.25', memory: 48M, pids: 30}, reservations: {memory: 16M}}
  quota: {image: bb, command: *forever, network_mode: none, cpu_quota: 20000, cpu_period: 50000, blkio_config: {device_read_bps: [{path: /dev/vda, rate: 1mb}]}}
  free: {image: bb, command: *forever, network_mode: none, mem_limit: 0, cpus: 0, pids_limit: -1}
  sliced: {image: bb, command: *forever, network_mode: none, mem_limit: 32m, cgroup_parent: ketchcompose.slice}
YAML
cd $p || exit 1
$k compose up -d > $out 2>&1; is 'up' $? 0
[ $bad = 0 ] || cat $out
# What the kernel was told about the cgroup of a container's systemd scope: of the scope itself, or of what is below.
told() {
    local c=$1 group file
    shift
    group=/sys/fs/cgroup$($k inspect --format '{{.State.CgroupPath}}' "$c")
    for file in "$@"; do tr '\n' ' ' < "$group/$file"; done | sed 's/ $//'
}
is 'mem_limit, memswap_limit, mem_reservation' "$(told cproject-short-1 memory.max memory.swap.max memory.low)" '67108864 33554432 33554432'
is 'cpus, pids_limit, cpuset' "$(told cproject-short-1 cpu.max pids.max cpuset.cpus)" '50000 100000 40 1'
is 'cpu_shares' "$(told cproject-short-1 cpu.weight)" 79
for n in 1 2; do
    is "deploy.resources of replica $n" "$(told cproject-long-$n memory.max memory.swap.max memory.low cpu.max pids.max)" '50331648 50331648 16777216 25000 100000 30'
done
is 'the container sees them' "$($k compose exec -T long cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max | tr '\n' ' ')" '50331648 25000 100000 30 '
is 'cpu_quota, cpu_period, device_read_bps' "$(told cproject-quota-1 cpu.max io.max)" "20000 50000 $(stat -c '%Hr:%Lr' /dev/vda) rbps=1048576 wbps=max riops=max wiops=max"
is 'nothing for 0' "$(told cproject-free-1 memory.max cpu.max pids.max)" 'max max 100000 max'
is 'cgroup_parent' "$($k inspect --format '{{.State.CgroupPath}}' cproject-sliced-1 | grep -o '/ketchcompose.slice/') $(told cproject-sliced-1 memory.max)" '/ketchcompose.slice/ 33554432'
is 'inspect' "$($k inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}' cproject-long-1)" '50331648 250000000 30'
is 'stats' "$($k compose stats --no-stream --format '{{.Name}} {{.MemUsage}}' | grep -c -e '^cproject-short-1 .*/ 6[47]' -e '^cproject-long-[12] .*/ \(48\|50\)')" 3
$k compose up -d --no-recreate > /dev/null 2>&1; is 'up again' "$? $(told cproject-short-1 pids.max)" '0 40'

# What it does: neither memory nor processes beyond.
cat > compose.yaml << 'YAML'
services:
  short: {image: bb, command: [sleep, '1000000'], init: true, network_mode: none, mem_limit: 80m, pids_limit: 20}
  hungry: {image: bb, command: [tail, /dev/zero], network_mode: none, deploy: {resources: {limits: {memory: 24M}}, restart_policy: {condition: on-failure, max_attempts: 1}}, memswap_limit: 24m}
  crowd: {image: bb, command: [sh, -c, '(for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done); exec sleep 1000000'], network_mode: none, deploy: {resources: {limits: {pids: 4}}}}
YAML
$k compose up -d --remove-orphans > $out 2>&1; is 'up of what has changed' $? 0
is 'new limits' "$(told cproject-short-1 memory.max cpu.max pids.max)" '83886080 max 100000 20'
comes 'restarted after running out of memory' 'exited 137 1 true' $k inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}} {{.State.OOMKilled}}' cproject-hungry-1
comes 'no process beyond the limit' 'max 1' sh -c "cat /sys/fs/cgroup$($k inspect --format '{{.State.CgroupPath}}' cproject-crowd-1)/pids.events | sed 's/ [1-9][0-9]*/ 1/' | head -n 1"
is 'orphans are gone' "$($k ps -aq --filter name=cproject-long --filter name=cproject-free | wc -l)" 0
is 'run has the limits of the service' "$($k compose run -T --rm short cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max 2> /dev/null | tr '\n' ' ')" '83886080 20 '
$k compose pause short > /dev/null 2>&1; is 'pause' "$($k inspect --format '{{.State.Status}}' cproject-short-1)" paused
$k compose unpause short > /dev/null 2>&1; is 'unpause' "$($k inspect --format '{{.State.Status}}' cproject-short-1)" running
$k compose down -t 0 > $out 2>&1; is 'down' "$? $($k ps -aq | wc -l)" '0 0'
comes 'no scope is left' '' systemctl --user list-units --all --plain --no-legend 'ketch-*.scope'
cd / && $k rmi -f bb > /dev/null
rm -rf $r $p
done_here
