# Services of the machine around containers: root's, and an ordinary user's by User=, which has neither a session nor its variables.
k="$bin --root /root/wrappers"
u="$bin --root $t/wrappers"
as_dev() { setpriv --reuid=dev --regid=dev --init-groups env -i PATH="$PATH" HOME=/home/dev XDG_RUNTIME_DIR=/run/user/$(id -u dev) "$@"; }
r=$(mktemp -d)
rootfs "$r" cat
chmod 755 "$r"
units=/etc/systemd/system
unit() { cat > "$units/$1"; }
show() { systemctl show -P "$2" "$1"; }
state() { echo "$(systemctl is-active "$1") $(show "$1" Result)"; }
loop='trap "exit 0" TERM; while :; do sleep 1; done'
tar -C "$r" -c . | $k import -q - bb > /dev/null; is 'import' $? 0
tar -C "$r" -c . | as_dev $u import -q - bb > /dev/null; is 'import as dev' $? 0
rm -rf "$r"
service() {
    unit kt-$1.service << UNIT
[Service]
TimeoutStartSec=300
TimeoutStopSec=120
$(cat)
UNIT
}
service root << UNIT
Type=forking
PIDFile=/run/kt-root.pid
ExecStart=$k run -d --rm --replace --conmon-pidfile /run/kt-root.pid --net=none -m 64m --name kt bb sh -c '$loop'
ExecStop=$k stop -t 60 kt
UNIT
service notify << UNIT
Type=notify
ExecStart=$k run -d --rm --replace --sdnotify=conmon --net=none --name kt bb sh -c '$loop'
ExecStop=$k stop -t 60 kt
UNIT
service split << UNIT
Type=notify
NotifyAccess=all
Delegate=yes
KillMode=mixed
ExecStart=$k run -d --rm --replace --cgroups=split --sdnotify=conmon --net=none -m 64m --name kt bb sh -c '$loop'
ExecStopPost=-$k rm -f -i kt
UNIT
service user-forking << UNIT
User=dev
Type=forking
RuntimeDirectory=kt
PIDFile=/run/kt/pid
ExecStart=$u run -d --rm --replace --conmon-pidfile /run/kt/pid --net=none --name kt bb sh -c '$loop'
ExecStop=$u stop -t 60 kt
UNIT
service user-notify << UNIT
User=dev
Type=notify
NotifyAccess=all
ExecStart=$u run -d --rm --replace --sdnotify=conmon -m 64m --name kt bb sh -c '$loop'
ExecStop=$u stop -t 60 kt
UNIT
service user-front << UNIT
User=dev
ExecStart=$u run --rm --replace --net=none --name kt bb sh -c '$loop'
ExecStop=$u stop -t 60 kt
UNIT
systemctl daemon-reload

for name in root notify split; do
    systemctl start kt-$name.service; is "$name: start" "$? $(state kt-$name.service)" '0 active success'
    is "$name: its main process" "$(show kt-$name.service MainPID)" "$($k inspect --format '{{.State.ConmonPid}}' kt)"
    [ $name = notify ] || is "$name: its limit" "$($k exec kt cat /sys/fs/cgroup/memory.max)" 67108864
    systemctl stop kt-$name.service; is "$name: stop" "$? $(state kt-$name.service) $($k ps -aq)" '0 inactive success '
done
for name in user-forking user-notify user-front; do
    systemctl start kt-$name.service; is "$name: start" "$? $(state kt-$name.service)" '0 active success'
    comes "$name: runs" true as_dev $u inspect --format '{{.State.Running}}' kt
    [ $name = user-front ] || is "$name: its main process" "$(show kt-$name.service MainPID)" "$(as_dev $u inspect --format '{{.State.ConmonPid}}' kt)"
    [ $name != user-notify ] || is "$name: its limit" "$(as_dev $u exec kt cat /sys/fs/cgroup/memory.max)" 67108864
    is "$name: exec from a session" "$(as_dev $u exec kt sh -c "echo here")" here
    systemctl stop kt-$name.service; is "$name: stop" "$? $(state kt-$name.service) $(as_dev $u ps -aq)" '0 inactive success '
done
for name in root notify split user-forking user-notify user-front; do rm -f $units/kt-$name.service; done
systemctl daemon-reload
systemctl reset-failed 2> /dev/null
$k system reset -f > /dev/null 2>&1; is 'reset' $? 0
as_dev $u system reset -f > /dev/null 2>&1; is 'reset as dev' $? 0
done_here
