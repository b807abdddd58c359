# Docker's API as a service of systemd: the first connection starts it, it ends when nobody is there, and containers outlast it.
k="$bin --root $t/api-store"
r=$t/aroot
rootfs $r cat
tar -C $r -c . | $k import -q - bb > /dev/null; is 'import' $? 0
units=$HOME/.config/systemd/user
mkdir -p "$units"
$k system service --print-units | (cd "$units" && awk '/^# .*\/ketch\.(socket|service)$/ { n = split($2, path, "/"); file = path[n] } { print > file }')
systemctl --user daemon-reload
is 'systemd understands them' "$(systemd-analyze --user verify --man=no "$units"/ketch.{socket,service} 2>&1 | grep -v '^/usr' | head -n 3)" ''
systemctl --user start ketch.socket; is 'the socket' "$? $(systemctl --user is-active ketch.service)" '0 inactive'
api() { curl -s -m 120 --unix-socket "$XDG_RUNTIME_DIR/ketch/ketch.sock" "$@"; }
post() { local path=$1; shift; api -o /dev/null -w '%{http_code}' -X POST -H 'Content-Type: application/json' "http://d$path" "$@"; }
is 'the first connection starts it' "$(api http://d/_ping) $(systemctl --user is-active ketch.service)" 'OK active'
is 'create' "$(post '/v1.45/containers/create?name=api' -d '{"Image":"bb","Cmd":["sleep","100000"],"HostConfig":{"Memory":67108864,"NetworkMode":"none"}}')" 201
is 'start' "$(post /v1.45/containers/api/start)" 204
is 'its limit holds' "$($k exec api cat /sys/fs/cgroup/memory.max)" 67108864
is 'it is none of the service' "$($k inspect --format '{{.State.CgroupPath}}' api | grep -c ketch.service)" 0
monitor=$($k inspect --format '{{.State.ConmonPid}}' api)
comes 'the service ends by itself' inactive systemctl --user is-active ketch.service
is 'well' "$(systemctl --user show -P Result ketch.service)" success
is 'the container goes on' "$($k inspect --format '{{.State.Running}} {{.State.ConmonPid}}' api)" "true $monitor"
is 'the next connection starts it again' "$(api http://d/containers/json | grep -c '"/api"') $(systemctl --user is-active ketch.service)" '1 active'
systemctl --user stop ketch.service ketch.socket; is 'stop' $? 0
is 'the container goes on then, too' "$($k inspect --format '{{.State.Running}} {{.State.ConmonPid}}' api)" "true $monitor"
$k rm -f -t0 api > /dev/null; is 'rm' $? 0
rm -f "$units"/ketch.{socket,service}
systemctl --user daemon-reload
done_here
