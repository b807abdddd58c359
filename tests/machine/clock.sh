# REL-36: somebody sets the machine's clock, years back and forth, while containers run. As root; ketch runs as dev.
k="setpriv --reuid=dev --regid=dev --init-groups env HOME=/home/dev XDG_RUNTIME_DIR=/run/user/$(id -u dev) $bin --root $t/clock"
r=$t/croot
rootfs $r cat date httpd wget
chown -R dev:dev $r
started=$(date +%s) since=$(cut -d. -f1 /proc/uptime)
true_now() { echo $((started + $(cut -d. -f1 /proc/uptime) - since)); }
restore() { date -s "@$(true_now)" > /dev/null; }
trap restore EXIT
checks() { cat $t/checks/* 2> /dev/null | wc -l; }
mkdir -p $t/checks; chown dev:dev $t/checks
$k run -d --name web --rootfs $r httpd -f -p 80 -h /etc > /dev/null
echo page > $r/etc/page
n=0
for jump in '+10 years' '-20 years' '+10 years' '+90 seconds' '-90 seconds'; do
    n=$((n + 1))
    $k run -d --net=none --name well$n -v $t/checks:/checks --health-cmd "echo >> /checks/$n" --health-interval 2s --rootfs $r sh -c 'trap "exit 3" TERM; while :; do sleep 0.2; done' > /dev/null
    $k run -d --net=none --name deaf$n --rootfs $r sh -c 'trap "" TERM; while :; do sleep 0.2; done' > /dev/null
    $k run -d --net=none --name back$n --restart on-failure:3 --rootfs $r sh -c 'sleep 0.5; exit 5' > /dev/null
    ( $k wait well$n > $t/waited 2>&1 ) &
    date -s "$(date -d "$jump" '+%Y-%m-%d %H:%M:%S')" > /dev/null
    before=$(checks)
    sleep 6
    is "$jump: health checks go on" "$([ "$(checks)" -gt "$before" ] && echo yes)" yes
    begin=$(cut -d. -f1 /proc/uptime)
    $k stop -t 300 well$n > /dev/null; is "$jump: stop" "$? $($k inspect --format '{{.State.ExitCode}}' well$n)" '0 3'
    wait; is "$jump: wait" "$(cat $t/waited)" 3
    $k stop -t 2 deaf$n > /dev/null; is "$jump: stop of one that does not listen" "$? $($k inspect --format '{{.State.ExitCode}}' deaf$n)" '0 137'
    is "$jump: nobody waits for years" "$(between 2 $(($(cut -d. -f1 /proc/uptime) - begin)) 280)" yes
    comes "$jump: restarts" 'exited 3 5' $k inspect --format '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}' back$n
    is "$jump: listings" "$($k ps -a --format '{{.Names}} {{.Status}} {{.RunningFor}}' | grep -c -e 'Up -' -e ' -[0-9]')" 0
    is "$jump: names and ports" "$($k run --rm --rootfs $r wget -q -T 60 -O- http://web/page 2>&1)" page
    $k logs --since 1h well$n > /dev/null; is "$jump: logs" $? 0
    $k rm -f -t0 well$n deaf$n back$n > /dev/null; is "$jump: rm" $? 0
    $k events --stream=false > /dev/null; is "$jump: events" $? 0
done
restore
is 'system check' "$($k system check > /dev/null 2>&1; echo $?)" 0
$k rm -f -t0 -a > /dev/null
rm -rf $r $t/checks
done_here
