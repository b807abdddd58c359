# REL-65: what a logout does to containers, without lingering and with it. As root; the user `gone` logs in as at a console.
id gone > /dev/null 2>&1 || useradd -m -s /bin/bash gone
grep -q '^gone:' /etc/subuid || usermod --add-subuids 900000-965535 --add-subgids 900000-965535 gone
loginctl disable-linger gone
r=/home/gone/root
rootfs $r
chown -R gone:gone $r; chmod 755 /home/dev $t $t/bin
uid=$(id -u gone)
k="$bin --root /home/gone/store"
# A session of its own for a command on a terminal, over when that has ended.
on_terminal='import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))'
session() { systemd-run --quiet --wait --pipe --collect -p User=gone -p PAMName=login -p WorkingDirectory=/home/gone python3 -c "$on_terminal" "$@" 2>&1 < /dev/null | tr -d '\r'; }
manager() { systemctl is-active user@$uid.service; }
state() { setpriv --reuid=gone --regid=gone --init-groups env HOME=/home/gone XDG_RUNTIME_DIR=/run/user/$uid $k inspect --format "{{.State.$2}}" "$1" 2>&1; }

rm -rf /home/gone/store
said=$(session $k run -d --net=none --stop-timeout 0 --name a --rootfs $r sleep 100000)
is 'told how to keep them' "$(echo "$said" | grep -c 'loginctl enable-linger')" 1
said=$(session $k run -d --net=none --stop-timeout 0 --name b --rootfs $r sleep 100000)
is 'told once' "$(echo "$said" | grep -c 'loginctl enable-linger')" 0
comes 'the user manager ends with the session' inactive manager
is 'no process of theirs is left' "$(pgrep -c -u gone)" 0
is 'ended containers are shown as ended' "$(state a Status) $(state b Running)" 'exited false'
is 'nobody invents success' "$([ "$(state a ExitCode)" != 0 ] && echo yes)" yes
session $k start a > /dev/null
comes 'they can be started again' 'running' state a Status

loginctl enable-linger gone
said=$(session $k run -d --net=none --stop-timeout 0 --name c --rootfs $r sleep 100000)
is 'who lingers is told nothing' "$(echo "$said" | grep -c enable-linger)" 0
sleep 20
is 'no session is left' "$(loginctl list-sessions --no-legend | awk '$3 == "gone" && !/manager/' | wc -l)" 0
is 'with lingering they go on' "$(manager) $(state c Status)" 'active running'
is 'and are below the user manager' "$(state c CgroupPath | grep -c "user@$uid.service/")" 1
# `su` without a session of its own: no runtime directory, no bus in the environment.
is 'without XDG_RUNTIME_DIR, too' "$(setpriv --reuid=gone --regid=gone --init-groups env -i HOME=/home/gone PATH="$PATH" $k run --rm --net=none -m 64m --rootfs $r true 2>&1; echo $?)" 0
setpriv --reuid=gone --regid=gone --init-groups env HOME=/home/gone $k rm -f -t0 -a > /dev/null; is 'rm' $? 0
loginctl disable-linger gone
comes 'and it ends without lingering' inactive manager
done_here
