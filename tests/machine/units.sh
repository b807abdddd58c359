# Containers as services of systemd: readiness, stopping, restarting, sockets, and what is left when a session ends.
k="$bin --root $t/units"
r=$t/uroot
d=$t/udebian
rootfs $r httpd wget cat touch test
debian $d
units=$HOME/.config/systemd/user
mkdir -p "$units"
unit() { cat > "$units/$1"; }
show() { systemctl --user show -P "$2" "$1"; }
# The network helper's process.
helper() { pgrep -u "$(id -u)" -f -x 'ketch --stage netd'; }
running() { $k inspect --format '{{.State.Running}}' "$1" 2>&1; }

# As `podman generate systemd` writes them: the monitor is the service's main process, the container has a scope of its own.
unit kt-conmon.service << UNIT
[Service]
Type=notify
NotifyAccess=all
TimeoutStartSec=300
TimeoutStopSec=120
ExecStart=$k run --cgroups=no-conmon --rm --sdnotify=conmon --replace -d --net=none --name kt-conmon -m 64m --rootfs $r sleep 100000
ExecStop=$k stop --ignore -t 1 kt-conmon
ExecStopPost=$k rm -f --ignore -t 1 kt-conmon
Restart=on-failure
RestartSec=1
UNIT
# As Quadlet writes them: all of it is in the service's own cgroup.
unit kt-split.service << UNIT
[Service]
Type=notify
NotifyAccess=all
Delegate=yes
KillMode=mixed
TimeoutStartSec=300
TimeoutStopSec=60
ExecStart=$k run --cgroups=split --rm --sdnotify=conmon --replace -d --net=none --name kt-split -m 64m --rootfs $r sh -c 'trap "exit 0" TERM; while :; do sleep 1; done'
ExecStopPost=-$k rm -f --ignore -t 1 kt-split
UNIT
unit kt-healthy.service << UNIT
[Service]
Type=notify
NotifyAccess=all
TimeoutStartSec=300
ExecStart=$k run --cgroups=no-conmon --rm --sdnotify=healthy --health-cmd 'test -e /tmp/ok' --health-interval 1s --replace -d --net=none --name kt-healthy --rootfs $r sh -c 'sleep 5; touch /tmp/ok; sleep 100000'
ExecStopPost=$k rm -f --ignore -t 1 kt-healthy
UNIT
# The container itself says that it is ready, with systemd's own program, and what it is doing.
unit kt-inside.service << UNIT
[Service]
Type=notify
NotifyAccess=all
TimeoutStartSec=300
ExecStart=$k run --cgroups=no-conmon --rm --sdnotify=container --replace -d --net=none -v /usr:/usr:ro --name kt-inside --rootfs $d sh -c 'sleep 3; systemd-notify --ready; sleep 100000'
ExecStopPost=$k rm -f --ignore -t 1 kt-inside
UNIT
# In the foreground: the command is the service.
unit kt-front.service << UNIT
[Service]
ExecStart=$k run --rm --replace --net=none --name kt-front --rootfs $r sh -c 'trap "exit 3" TERM; echo said by container $$; while :; do sleep 1; done'
TimeoutStopSec=120
UNIT
# systemd holds the port.
unit kt-web.socket << UNIT
[Socket]
ListenStream=127.0.0.1:8089
UNIT
unit kt-web.service << UNIT
[Service]
Type=notify
NotifyAccess=all
TimeoutStartSec=300
ExecStart=$k run --cgroups=no-conmon --rm --sdnotify=conmon --replace -d -p 127.0.0.1:8089:80 --name kt-web --rootfs $r httpd -f -p 80 -h /etc
ExecStopPost=$k rm -f --ignore -t 1 kt-web
UNIT
echo page > $r/etc/page
systemctl --user daemon-reload

systemctl --user start kt-conmon.service; is 'start --sdnotify=conmon' $? 0
is 'its main process is the monitor' "$(show kt-conmon.service MainPID)" "$($k inspect --format '{{.State.ConmonPid}}' kt-conmon)"
is 'the monitor is in the cgroup of the service' "$(grep -c '/kt-conmon.service$' /proc/$(show kt-conmon.service MainPID)/cgroup)" 1
is 'the container is not' "$($k inspect --format '{{.State.CgroupPath}}' kt-conmon | grep -c 'ketch-.*[.]scope')" 1
is 'its limit' "$($k exec kt-conmon cat /sys/fs/cgroup/memory.max)" 67108864
before=$($k inspect --format '{{.Id}}' kt-conmon)
kill -9 "$($k inspect --format '{{.State.Pid}}' kt-conmon)" 2> /dev/null
comes 'restarted by systemd after a kill' 'another, active' sh -c "id=\$($k inspect --format '{{.Id}}' kt-conmon 2>/dev/null); [ -z \"\$id\" ] || [ \"\$id\" = $before ] || echo another, \$(systemctl --user is-active kt-conmon.service)"
systemctl --user stop kt-conmon.service; is 'stop' $? 0
is 'nothing of it is left' "$($k ps -aq --filter name=kt-conmon)" ''

systemctl --user start kt-split.service; is 'start --cgroups=split' $? 0
is 'the container is in the cgroup of the service' "$($k inspect --format '{{.State.CgroupPath}}' kt-split | grep -c '/kt-split.service/')" 1
is 'its limit' "$($k exec kt-split cat /sys/fs/cgroup/memory.max)" 67108864
is 'active' "$(systemctl --user is-active kt-split.service)" active
systemctl --user stop kt-split.service; is 'stop' $? 0
is 'stopped, not failed' "$(show kt-split.service Result) $(systemctl --user is-active kt-split.service)" 'success inactive'
is 'nothing of it is left' "$($k ps -aq --filter name=kt-split)" ''

begin=$SECONDS
systemctl --user start kt-healthy.service; is 'start --sdnotify=healthy' $? 0
is 'ready when healthy' "$($k inspect --format '{{.State.Health.Status}}' kt-healthy) $(between 5 $((SECONDS - begin)) 300)" 'healthy yes'
systemctl --user stop kt-healthy.service

systemctl --user start kt-inside.service; is 'start --sdnotify=container' $? 0
is 'ready when the container says so' "$(systemctl --user is-active kt-inside.service) $(running kt-inside)" 'active true'
systemctl --user stop kt-inside.service

systemctl --user start kt-front.service
comes 'the journal has what it says' 1 sh -c 'journalctl --user -u kt-front.service -o cat | grep -c "^said by container '$$'\$"'
systemctl --user stop kt-front.service
is 'its own code' "$(show kt-front.service ExecMainStatus) $(show kt-front.service Result)" '3 exit-code'

systemctl --user start kt-web.socket
# The first connection starts it; its server may listen later than the container has begun.
comes 'a socket of systemd starts it and serves' page curl -s -m 60 http://127.0.0.1:8089/page
is 'started by the socket' "$(systemctl --user is-active kt-web.service)" active
systemctl --user stop kt-web.socket kt-web.service

# What serves several containers is nobody's: a service that was the first to need the network helper, and U, ends without them.
for mode in no-conmon split; do
    unit kt-first.service << UNIT
[Service]
Type=notify
NotifyAccess=all
Delegate=yes
TimeoutStartSec=300
TimeoutStopSec=120
ExecStart=$k run --cgroups=$mode --rm --sdnotify=conmon --replace -d --name kt-first --rootfs $r sh -c 'trap "exit 0" TERM; while :; do sleep 1; done'
ExecStop=$k stop --ignore -t 60 kt-first
ExecStopPost=$k rm -f --ignore -t 1 kt-first
UNIT
    systemctl --user daemon-reload
    # One of before lingers.
    comes "$mode: no helper yet" '' helper
    systemctl --user start kt-first.service; is "$mode: start" $? 0
    first=$(helper)
    is "$mode: the helper has a scope of its own" "$(grep -c "/ketch-netd-$first.scope\$" /proc/$first/cgroup)" 1
    $k run -d --name kt-other --network-alias page --rootfs $r sh -c 'httpd -p 80 -h /etc; sleep 100000' > /dev/null; is "$mode: another" $? 0
    $k run -d --name kt-third --rootfs $r sleep 100000 > /dev/null
    systemctl --user stop kt-first.service; is "$mode: stop" "$? $(show kt-first.service Result)" '0 success'
    is "$mode: nothing is left in it" "$(cat /sys/fs/cgroup/user.slice/user-$(id -u).slice/user@$(id -u).service/app.slice/kt-first.service/cgroup.procs 2> /dev/null)" ''
    is "$mode: the same helper" "$(helper)" "$first"
    is "$mode: others reach each other" "$($k exec kt-third wget -q -T 60 -O- http://kt-other/page 2>&1)" page
    is "$mode: and are in one U with who comes now" "$($k run --rm --rootfs $r wget -q -T 60 -O- http://kt-other/page 2>&1)" page
    $k rm -f -t0 kt-other kt-third > /dev/null; is "$mode: rm" $? 0
done

# A service that looks at a container whose monitor was killed gives it a new one, which is not the service's.
$k run -d --name kt-orphan --net=none --rootfs $r sleep 100000 > /dev/null
kill -9 "$($k inspect --format '{{.State.ConmonPid}}' kt-orphan)"
systemd-run --user --quiet --wait --collect -p KillMode=control-group $k exec kt-orphan true; is 'exec in a service' $? 0
is 'the new monitor is with the container' "$(grep -c '/ketch-[0-9a-f]*.scope/monitor$' /proc/$($k inspect --format '{{.State.ConmonPid}}' kt-orphan)/cgroup)" 1
monitor=$($k inspect --format '{{.State.ConmonPid}}' kt-orphan)
$k exec kt-orphan true; is 'and stays' "$? $($k inspect --format '{{.State.ConmonPid}}' kt-orphan)" "0 $monitor"
$k rm -f -t0 kt-orphan > /dev/null

systemctl --user reset-failed 2> /dev/null
rm -f "$units"/kt-*
systemctl --user daemon-reload
is 'no container is left' "$($k ps -aq)" ''
comes 'no scope is left' '' systemctl --user list-units --all --plain --no-legend 'ketch-*.scope'
rm -rf $r $d
done_here
