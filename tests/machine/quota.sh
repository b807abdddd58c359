# REL-19: the store is on a file system where the user's quota is used up: EDQUOT instead of ENOSPC. As root; ketch runs as dev.
modprobe -q quota_v2
m=/mnt/quota
umount $m 2> /dev/null
mkdir -p $m
# Made outside: there is no mkfs here.
gunzip -c $t/quota.img.gz > /var/quota.img && mount -o loop,usrquota /var/quota.img $m; is 'a file system with quotas' $? 0
[ $bad = 0 ] || done_here
mkdir $m/dev && chown dev:dev $m/dev
# Q_SETQUOTA of quotactl(2) for one user: blocks of 1 KiB, files.
limit() {
    python3 - "$(findmnt -no SOURCE $m)" "$(id -u dev)" "$1" "$2" << 'PYTHON'
import ctypes, sys
device, user, blocks, files = sys.argv[1].encode(), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
class Limits(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("bhard", "bsoft", "space", "ihard", "isoft", "files", "btime", "itime")] + [("valid", ctypes.c_uint32)]
libc = ctypes.CDLL(None, use_errno=True)
limits = Limits(blocks, 0, 0, files, 0, 0, 0, 0, 1 | 4)
Q_SETQUOTA, USRQUOTA = 0x800008, 0
if libc.quotactl(Q_SETQUOTA << 8 | USRQUOTA, device, user, ctypes.byref(limits)):
    sys.exit(f"quotactl: {ctypes.get_errno()}")
PYTHON
}
as_dev() { setpriv --reuid=dev --regid=dev --init-groups env HOME=/home/dev XDG_RUNTIME_DIR=/run/user/$(id -u dev) "$@"; }
k="as_dev $bin --root $m/dev/store"
r=$m/dev/root
rootfs $r cat dd
chown -R dev:dev $r
dd if=/dev/urandom of=$t/noise bs=1M count=12 2> /dev/null
tar -C $r -cf $t/small.tar . && tar -C $t -rf $t/small.tar noise && chown dev:dev $t/small.tar
tar -C $r -cf $t/tiny.tar . && chown dev:dev $t/tiny.tar
$k import -q $t/tiny.tar tiny > /dev/null; is 'an image' $? 0
$k run -d --net=none --name up tiny sleep 100000 > /dev/null; is 'a container' $? 0
$k create --net=none --name other tiny true > /dev/null
used=$(($(du -sk $m/dev | cut -f1)))
limit $((used + 4096)) 0; is 'a limit of 4 MiB more' $? 0
$k import -q $t/small.tar large > $out 2>&1; is 'import over the limit' $? 125
is 'says why' "$(grep -i -c '^error: .*\(quota\|no space\)' $out || cat $out)" 1
is 'nothing of it is left' "$($k images -q large 2> /dev/null)$(ls -A $m/dev/store/staging 2> /dev/null)" ''
$k exec up sh -c 'dd if=/dev/zero of=/fill bs=64k' > /dev/null 2>&1
is 'ps at the limit' "$($k ps --format '{{.Names}}')" up
$k images > /dev/null; is 'images at the limit' $? 0
$k logs up > /dev/null; is 'logs at the limit' $? 0
$k create --net=none --name more tiny true > $out 2>&1 && $k volume create x > $out 2>&1
is 'rm at the limit' "$($k rm other)" other
is 'rm -f of the one that filled it' "$($k rm -f -t0 up)" up
$k rm -f more > /dev/null 2>&1
is 'room again' "$($k run --rm --net=none tiny sh -c 'echo here')" here
# No files left.
limit 0 $(($(find $m/dev | wc -l) + 6))
$k run --net=none --name none tiny true > $out 2>&1; code=$?
is 'no files left: told in one line, or done' "$([ $code = 0 ] || [ "$code $(wc -l < $out)" = '125 1' ] && echo yes || cat $out)" yes
$k ps -a > /dev/null; is 'ps without files left' $? 0
$k rm -f none > /dev/null 2>&1
limit 0 0
is 'rm -f without files left' "$($k ps -aq)" ''
is 'system check' "$($k system check > /dev/null 2>&1; echo $?)" 0
is 'rmi' "$($k rmi tiny > /dev/null; echo $?)" 0
rm -f $t/noise $t/small.tar $t/tiny.tar
# What belongs to the container's users is no longer ours once it is unmounted.
umount $m; is 'nothing holds the file system' $? 0
rm -f /var/quota.img
done_here
