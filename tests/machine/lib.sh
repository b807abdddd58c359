# What the scripts of this directory share; tests/vm puts it before each of them.
#
#   is WHAT GOT WANTED           one line, `ok:` or `FAILED:`
#   comes WHAT WANTED CMD...     the same, once CMD says WANTED; after two minutes what it said last
#   rootfs DIR APPLET...         a root file system of busybox; `debian` is one that borrows /usr of the machine
#   done_here                    the exit code
#   $out                         a file for what a command says
set -u
t=/home/dev/t
bin=$t/bin/ketch
out=$(mktemp)
bad=0
is() { if [ "$2" = "$3" ]; then echo "ok: $1"; else echo "FAILED: $1: $2, wanted $3"; bad=1; fi; }
comes() {
    local what=$1 wanted=$2 got=
    shift 2
    local end=$((SECONDS + 120))
    while [ $SECONDS -lt $end ]; do
        got=$("$@" 2>&1)
        [ "$got" != "$wanted" ] || break
        sleep 0.5
    done
    is "$what" "$got" "$wanted"
}
# Whether a number lies between two others.
between() { if [ "$2" -ge "$1" ] && [ "$2" -le "$3" ]; then echo yes; else echo "$2"; fi; }
rootfs() {
    local dir=$1 applet
    shift
    mkdir -p "$dir/bin" "$dir/etc" "$dir/tmp" "$dir/usr"
    cp /bin/busybox "$dir/bin/"
    for applet in sh sleep true "$@"; do ln -sf busybox "$dir/bin/$applet"; done
}
debian() {
    local dir=$1 name
    mkdir -p "$dir/usr" "$dir/etc" "$dir/tmp" "$dir/run"
    for name in bin sbin lib lib64; do ln -sfn "usr/$name" "$dir/$name"; done
}
done_here() { rm -f "$out"; exit $bad; }
