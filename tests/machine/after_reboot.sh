# What runs after the machine was started again.
case $(id -u) in 0) k="$bin --root /root/store" port=80 p=/root/kp ;; *) k="$bin --root $t/store" port=8080 p=$t/kp ;; esac
names() { $k ps --format '{{.Names}}' | grep -v -e -infra | sort | tr '\n' ' '; }
# `again` was stopped by hand, but has always: as with Docker's daemon it starts with the machine.
comes 'running after the reboot' 'again always kp-app-1 kp-side-1 kp-web-1 member unless ' names
[ $bad = 0 ] || systemctl $([ "$(id -u)" = 0 ] || echo --user) status ketch-autostart.service --no-pager
comes 'the published port answers' page curl -s -m 60 http://127.0.0.1:$port/page
is 'its pod has its infra container' "$($k pod inspect pod --format '{{.State}}') $($k exec member sh -c 'read name < /etc/hostname && echo $name')" 'Degraded pod'
is 'one without a policy has ended' "$($k inspect --format '{{.State.Status}}' no)" exited
is 'and not with an invented success' "$([ "$($k inspect --format '{{.State.ExitCode}}' no)" != 0 ] && echo yes)" yes
$k start no > /dev/null; is 'it starts again' "$? $($k inspect --format '{{.State.Status}}' no)" '0 running'
c="$k compose -f $p/compose.yaml"
comes "a project's published port" page curl -s -m 60 http://127.0.0.1:$((port + 1))/page
comes 'its services find each other' page $c exec -T app wget -q -O - http://web/page
is 'its network is shared' "$($c exec -T side wget -q -O - http://127.0.0.1/page)" page
is 'the rest of it has ended' "$($c ps -a --status exited --format '{{.Service}}' | sort | tr '\n' ' ')" 'idle job '
$c up -d > $out 2>&1; is 'up again' "$? $($c ps --format '{{.Service}}' | wc -l)" '0 5'
$c down -t 0 > /dev/null 2>&1; is 'down' "$? $($c ps -aq | wc -l)" '0 0'
rm -rf $p
$k pod rm -f -t0 pod > /dev/null; is 'pod rm' $? 0
$k rm -f -t0 -a > /dev/null; is 'rm of all' $? 0
$k system autostart --remove > /dev/null; is 'system autostart --remove' $? 0
$k rmi -f bb > /dev/null
done_here
