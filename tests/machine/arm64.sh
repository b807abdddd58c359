# What tests/arm64 tries in its machine, as a user and as root. $1 says which.
failed=
is() { # NAME WANTED GOT
    if [ "$2" = "$3" ]; then echo "ok $1"; else echo "FAILED $1: wanted '$2', got '$3'"; failed=yes; fi
}
has() { # NAME PART GOT
    case $3 in *"$2"*) echo "ok $1" ;; *) echo "FAILED $1: no '$2' in '$3'"; failed=yes ;; esac
}
echo "== $1: $(id), Linux $(uname -r) $(uname -m)"
work=/tmp/work-$1
mkdir -p "$work/files/bin" "$work/files/etc" "$work/files/tmp" "$work/context"
cp /usr/bin/busybox "$work/files/bin/"
for name in sh ls cat sleep echo wget httpd id touch true mkdir grep; do ln -s busybox "$work/files/bin/$name"; done
echo root:x:0:0:root:/:/bin/sh > "$work/files/etc/passwd"

has version linux/arm64 "$(ketch version)"
has hello 'Hello from ketch' "$(ketch run --rm hello)"
tar -C "$work/files" -c . | ketch import -q - bb > /dev/null
is architecture arm64 "$(ketch image inspect -f '{{.Architecture}}' bb)"
is code 7 "$(ketch run --rm bb sh -c 'exit 7'; echo $?)"
is filtered 'Seccomp:	2' "$(ketch run --rm bb grep Seccomp: /proc/self/status)"
is denied 1 "$(ketch run --rm bb sh -c 'mkdir /m && /bin/busybox mount -t tmpfs none /m' 2> /dev/null; echo $?)"
ketch run -d --name web -p 8080:80 bb sh -c 'mkdir /www; echo served > /www/index.html; exec httpd -f -p 80 -h /www' > /dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ "$(ketch exec web ls /www 2> /dev/null)" = index.html ] && break
    sleep 1
done
is published served "$(wget -qO- http://127.0.0.1:8080/)"
is named served "$(ketch run --rm bb wget -qO- http://web/)"
is paused paused "$(ketch pause web > /dev/null && ketch inspect -f '{{.State.Status}}' web)"
ketch unpause web > /dev/null
is copied served "$(ketch cp web:/www/index.html - | tar -xO)"
printf 'FROM bb\nRUN echo built > /b\nCOPY x /x\nCMD ["cat", "/b", "/x"]\n' > "$work/context/Dockerfile"
echo context > "$work/context/x"
ketch build -q -t built "$work/context" > /dev/null
is built 'built
context' "$(ketch run --rm built)"
ketch save -o "$work/saved.tar" built && ketch rmi built > /dev/null && ketch load -q -i "$work/saved.tar" > /dev/null
has loaded built "$(ketch run --rm built)"
ketch run --rm -v v:/v bb touch /v/there
is volume there "$(ketch run --rm -v v:/v --read-only --cap-drop=all bb ls /v)"
[ "$1" = root ] || is own "$(id -u)" "$(ketch run --rm --userns=keep-id bb id -u)"
is restarted running "$(ketch restart -t 0 web > /dev/null && ketch inspect -f '{{.State.Status}}' web)"
has check 'ok      reach a published port' "$(ketch network check)"
is removed web "$(ketch rm -f -t 0 web)"
is sound 0 "$(ketch system check > /dev/null; echo $?)"
[ -n "$failed" ] || echo "all is well: $1"
