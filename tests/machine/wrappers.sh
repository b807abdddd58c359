# Units as people write them around containers: what podman's and docker's documents and tutorials show, other than units.sh and quadlet.sh.
k="$bin --root $t/wrappers"
r=$t/wroot
rootfs $r httpd wget cat touch test env date sleep
units=$HOME/.config/systemd/user
mkdir -p "$units"
unit() { cat > "$units/$1"; }
show() { systemctl --user show -P "$2" "$1"; }
of() { $k inspect --format "$2" "$1" 2>&1; }
state() { echo "$(systemctl --user is-active "$1") $(show "$1" Result)"; }
started=$(date +%s)
journal() { journalctl --user --since "@$started" -u "$1" -o cat --no-pager 2> /dev/null; }
# Ends with 0 when it is told to.
loop='trap "exit 0" TERM; while :; do sleep 1; done'
tar -C $r -c . | $k import -q - bb > /dev/null; is 'import' $? 0

# `podman generate systemd --new` before notify: a file names the main process.
unit kt-forking.service << UNIT
[Service]
Environment=PODMAN_SYSTEMD_UNIT=%n
Type=forking
PIDFile=%t/kt-forking.pid
TimeoutStartSec=300
TimeoutStopSec=120
Restart=on-failure
RestartSec=1
ExecStartPre=/bin/rm -f %t/kt-forking.pid %t/kt-forking.ctr-id
ExecStart=$k run --conmon-pidfile %t/kt-forking.pid --cidfile %t/kt-forking.ctr-id -d --replace --net=none --name kt-forking bb sh -c '$loop'
ExecStop=$k stop --ignore --cidfile %t/kt-forking.ctr-id -t 60
ExecStopPost=$k rm --ignore -f --cidfile %t/kt-forking.ctr-id
UNIT
# `podman generate systemd NAME`: the container is there already. Without PIDFile= systemd looks for the main process.
unit kt-start.service << UNIT
[Service]
Type=forking
TimeoutStartSec=300
TimeoutStopSec=120
ExecStart=$k start kt-start
ExecStop=$k stop -t 60 kt-start
UNIT
# Notified, with the default access: systemd listens to the command only.
unit kt-notify.service << UNIT
[Service]
Type=notify
TimeoutStartSec=300
TimeoutStopSec=120
ExecStart=$k run -d --rm --replace --sdnotify=conmon --net=none --name kt-notify bb sh -c '$loop'
ExecStop=$k stop -t 60 kt-notify
UNIT
# The same behind a shell.
unit kt-script.service << UNIT
[Service]
Type=notify
NotifyAccess=all
TimeoutStartSec=300
TimeoutStopSec=120
ExecStart=/bin/sh $t/kt-script.sh
ExecStop=$k stop -t 60 kt-script
UNIT
cat > $t/kt-script.sh << SCRIPT
$k rm -f -i kt-script
$k run -d --sdnotify=conmon --net=none --name kt-script bb sh -c '$loop'
SCRIPT
# docker's way: attached, and what an earlier start has left is removed first.
unit kt-docker.service << UNIT
[Service]
TimeoutStartSec=0
Restart=always
RestartSec=1
ExecStartPre=-$k stop kt-docker
ExecStartPre=-$k rm kt-docker
ExecStart=$k run --rm --net=none --name kt-docker bb sh -c 'echo said by docker; trap "exit 5" HUP; $loop'
ExecStop=$k stop -t 60 kt-docker
ExecReload=$k kill -s HUP kt-docker
TimeoutStopSec=120
UNIT
# One that is there already, attached.
unit kt-attached.service << UNIT
[Service]
Restart=always
RestartSec=1
ExecStart=$k start -a kt-attached
ExecStop=$k stop -t 60 kt-attached
TimeoutStopSec=120
UNIT
# Starts something and is done; what it started goes on, as `up -d` does.
unit kt-oneshot.service << UNIT
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$k start kt-one kt-two
ExecStop=$k stop -t 60 kt-one kt-two
TimeoutStopSec=120
UNIT
unit kt-spawn.service << UNIT
[Service]
Type=oneshot
ExecStart=$k start kt-one
UNIT
# By a timer.
unit kt-timer.timer << UNIT
[Timer]
OnActiveSec=1
AccuracySec=1
UNIT
unit kt-timer.service << UNIT
[Service]
Type=oneshot
EnvironmentFile=$t/kt.env
ExecStart=$k run --rm --net=none --name kt-tick -e WORD -e UNIT=%p --log-driver=journald bb sh -c 'echo tick \$\$WORD \$\$UNIT'
ExecStartPost=$k exec kt-two sh -c 'echo in another'
UNIT
echo 'WORD=of env' > $t/kt.env
# The code of what it runs decides.
unit kt-code.service << UNIT
[Service]
Type=oneshot
SuccessExitStatus=7
ExecStart=$k run --rm --net=none bb sh -c 'exit 7'
UNIT
unit kt-fails.service << UNIT
[Service]
Type=exec
ExecStart=$k run --rm --net=none bb sh -c 'exit 9'
UNIT
# inetd: a container for each connection.
unit kt-inetd.socket << UNIT
[Socket]
ListenStream=127.0.0.1:8093
Accept=yes
UNIT
unit kt-inetd@.service << UNIT
[Service]
StandardInput=socket
StandardError=journal
ExecStart=$k run -i --rm --net=none --log-driver=none bb sh -c 'read line; echo "heard \$\$line"'
UNIT
systemctl --user daemon-reload

systemctl --user start kt-forking.service; is 'forking: start' "$? $(state kt-forking.service)" '0 active success'
is 'forking: its main process is the monitor' "$(show kt-forking.service MainPID)" "$(of kt-forking '{{.State.ConmonPid}}')"
is 'forking: in the cgroup of the service' "$(grep -c '/kt-forking.service$' /proc/$(show kt-forking.service MainPID)/cgroup)" 1
is 'forking: the container has one of its own' "$(of kt-forking '{{.State.CgroupPath}}' | grep -c 'ketch-.*[.]scope')" 1
before=$(of kt-forking '{{.Id}}')
kill -9 "$(of kt-forking '{{.State.Pid}}')"
comes 'forking: another one after a kill' 'new active' sh -c "id=\$($k inspect --format '{{.Id}}' kt-forking 2> /dev/null); [ -z \"\$id\" ] || [ \"\$id\" = '$before' ] || echo new \$(systemctl --user is-active kt-forking.service)"
systemctl --user stop kt-forking.service; is 'forking: stop' "$? $(state kt-forking.service)" '0 inactive success'
is 'forking: nothing is left' "$($k ps -aq)" ''

$k create --name kt-start --net=none bb sh -c "$loop" > /dev/null
systemctl --user start kt-start.service; is 'start: start' "$? $(state kt-start.service)" '0 active success'
is 'start: systemd finds the monitor' "$(show kt-start.service MainPID)" "$(of kt-start '{{.State.ConmonPid}}')"
$k stop -t 60 kt-start > /dev/null
comes 'start: ends with its container' 'inactive success' state kt-start.service
systemctl --user start kt-start.service; is 'start: once more' "$? $(state kt-start.service) $(of kt-start '{{.State.Running}}')" '0 active success true'
systemctl --user stop kt-start.service; is 'start: stop' "$? $(state kt-start.service) $(of kt-start '{{.State.Status}} {{.State.ExitCode}}')" '0 inactive success exited 0'
$k rm kt-start > /dev/null

for name in notify script; do
    systemctl --user start kt-$name.service; is "$name: start" "$? $(state kt-$name.service)" '0 active success'
    is "$name: its main process" "$(show kt-$name.service MainPID)" "$(of kt-$name '{{.State.ConmonPid}}')"
    systemctl --user stop kt-$name.service; is "$name: stop" "$? $(state kt-$name.service)" '0 inactive success'
done
$k rm -f -i kt-script > /dev/null

systemctl --user start kt-docker.service; is 'docker: start' $? 0
comes 'docker: the journal has what it says' 1 sh -c "journalctl --user --since @$started -u kt-docker.service -o cat --no-pager | grep -c '^said by docker\$'"
is 'docker: reload' "$(systemctl --user reload kt-docker.service; echo $?)" 0
# It ends by SIGHUP: the service begins anew.
comes 'docker: restarted' 2 sh -c "journalctl --user --since @$started -u kt-docker.service -o cat --no-pager | grep -c '^said by docker\$'"
comes 'docker: one is there' 'true' $k inspect --format '{{.State.Running}}' kt-docker
systemctl --user stop kt-docker.service; is 'docker: stop' "$? $(state kt-docker.service)" '0 inactive success'
is 'docker: nothing is left' "$($k ps -aq)" ''

$k create --name kt-attached --net=none bb sh -c "echo said attached; $loop" > /dev/null
systemctl --user start kt-attached.service; is 'attached: start' $? 0
comes 'attached: the journal has what it says' 1 sh -c "journalctl --user --since @$started -u kt-attached.service -o cat --no-pager | grep -c '^said attached\$'"
pid=$(of kt-attached '{{.State.Pid}}')
kill -9 "$pid"
comes 'attached: another life after a kill' 2 sh -c "journalctl --user --since @$started -u kt-attached.service -o cat --no-pager | grep -c '^said attached\$'"
systemctl --user stop kt-attached.service; is 'attached: stop' "$? $(state kt-attached.service) $(of kt-attached '{{.State.Status}}')" '0 inactive success exited'
$k rm kt-attached > /dev/null

# What `generate systemd` writes, as its help says.
$k run -d --name kt-new --net=none --restart=always bb sh -c "$loop" > /dev/null
(cd "$units" && $k generate systemd --new --name --files --container-prefix= -t 60 kt-new > /dev/null); is 'generate: written' $? 0
$k rm -f -t0 kt-new > /dev/null
$k create --name kt-old --net=none bb sh -c "$loop" > /dev/null
$k generate systemd --name -t 60 kt-old > "$units/kt-old.service"
systemctl --user daemon-reload
for name in new old; do
    systemctl --user start kt-$name.service; is "generated $name: start" "$? $(state kt-$name.service)" '0 active success'
    is "generated $name: its main process" "$(show kt-$name.service MainPID)" "$(of kt-$name '{{.State.ConmonPid}}')"
done
before=$(of kt-new '{{.Id}}')
kill -9 "$(of kt-new '{{.State.Pid}}')"
comes 'generated new: another one after a kill' 'new active' sh -c "id=\$($k inspect --format '{{.Id}}' kt-new 2> /dev/null); [ -z \"\$id\" ] || [ \"\$id\" = '$before' ] || echo new \$(systemctl --user is-active kt-new.service)"
for name in new old; do systemctl --user stop kt-$name.service; is "generated $name: stop" "$? $(state kt-$name.service)" '0 inactive success'; done
is 'generated: the one is gone, the other stays' "$($k ps -a --format '{{.Names}}')" 'kt-old'
$k rm kt-old > /dev/null

for name in one two; do $k create --name kt-$name --net=none bb sh -c "$loop" > /dev/null; done
systemctl --user start kt-oneshot.service; is 'oneshot: start' "$? $(state kt-oneshot.service) $($k ps --format '{{.Names}}' | sort | tr '\n' ' ')" '0 active success kt-one kt-two '
systemctl --user stop kt-oneshot.service; is 'oneshot: stop' "$? $(state kt-oneshot.service) $($k ps -q)" '0 inactive success '
systemctl --user start kt-spawn.service; is 'spawn: start' "$? $(state kt-spawn.service)" '0 inactive success'
is 'spawn: what it started outlasts it' "$(of kt-one '{{.State.Running}}')" true
$k start kt-two > /dev/null
systemctl --user start kt-timer.timer; is 'timer: start' $? 0
comes 'timer: its run' 1 sh -c "journalctl --user --since @$started -u kt-timer.service -o cat --no-pager | grep -c '^tick of env kt-timer\$'"
comes 'timer: under its name' 'tick of env kt-timer' sh -c "journalctl --since @$started -q -o cat --no-pager CONTAINER_NAME=kt-tick"
comes 'timer: and exec' 1 sh -c "journalctl --user --since @$started -u kt-timer.service -o cat --no-pager | grep -c '^in another\$'"
comes 'timer: done' 'inactive success' state kt-timer.service
systemctl --user stop kt-timer.timer
$k rm -f -t0 kt-one kt-two > /dev/null

systemctl --user start kt-code.service; is 'a code that is a success' "$? $(state kt-code.service)" '0 inactive success'
systemctl --user start kt-fails.service
comes 'a code that is none' 'failed exit-code' state kt-fails.service
is 'which one' "$(show kt-fails.service ExecMainStatus)" 9

systemctl --user start kt-inetd.socket
comes 'inetd: a container answers' 'heard hello' sh -c 'echo hello | socat -t 100 - TCP:127.0.0.1:8093'
is 'inetd: and another' "$(echo again | socat -t 100 - TCP:127.0.0.1:8093)" 'heard again'
systemctl --user stop kt-inetd.socket
comes 'inetd: nothing is left' '' $k ps -aq

# At once: systemd-run, in the foreground and in the background, with limits of the unit around it.
is 'systemd-run --pipe' "$(echo through | systemd-run --user --quiet --wait --collect --pipe $k run -i --rm --net=none bb cat)" through
is 'systemd-run --pty' "$(systemd-run --user --quiet --wait --collect --pty $k run -t --rm --net=none bb sh -c 'test -t 1 && echo terminal' < /dev/null | tr -d '\r')" terminal
is 'systemd-run --scope' "$(systemd-run --user --quiet --scope -p MemoryMax=512M $k run --rm --net=none bb sh -c 'echo in scope')" 'in scope'
systemd-run --user --quiet --collect --unit kt-run -p TasksMax=64 $k run --rm --net=none --name kt-run bb sh -c "$loop"; is 'systemd-run' $? 0
comes 'its container' true $k inspect --format '{{.State.Running}}' kt-run
systemctl --user stop kt-run.service
comes 'and its end' '' $k ps -aq

# Several containers of one start that are not the service's own: --restart in the monitor, without systemd.
$k run -d --name kt-own --restart on-failure:2 --net=none bb sh -c 'exit 3' > /dev/null
comes 'restarts by the monitor' 'exited 2 3' $k inspect --format '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}' kt-own
$k rm kt-own > /dev/null

systemctl --user reset-failed 2> /dev/null
rm -f "$units"/kt-* $t/kt.env $t/kt-script.sh
systemctl --user daemon-reload
is 'no container is left' "$($k ps -aq)" ''
comes 'no scope is left' '' systemctl --user list-units --all --plain --no-legend 'ketch-*.scope'
$k system reset -f > /dev/null 2>&1; is 'reset' $? 0
rm -rf $r
done_here
