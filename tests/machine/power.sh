# REL-33: makes and removes things until the power is cut, and says what a command has reported as done. tests/vm keeps that list.
k="$bin --root $t/power"
r=$t/proot
rootfs $r cat
[ -e $t/power/format ] || { tar -C $r -c . | $k import -q - bb > /dev/null; }
i=0
while :; do
    i=$((i + 1))
    n=$1-$i
    echo "$n" > $r/stamp
    tar -C $r -c . | $k import -q - "img-$n" > /dev/null && echo "image img-$n $n"
    $k volume create "vol-$n" > /dev/null && echo "volume vol-$n"
    $k network create "net-$n" > /dev/null && echo "network net-$n"
    $k create --net=none --name "made-$n" bb sleep 100000 > /dev/null && echo "container made-$n"
    $k run -d --net=none --name "ran-$n" bb sleep 100000 > /dev/null && echo "container ran-$n"
    $k commit -q "made-$n" "own-$n" > /dev/null && echo "image own-$n"
    # What is removed stays removed.
    [ $((i % 2)) = 0 ] || {
        $k rm -f -t0 "made-$n" > /dev/null && echo "gone container made-$n"
        $k volume rm "vol-$n" > /dev/null && echo "gone volume vol-$n"
        $k network rm "net-$n" > /dev/null && echo "gone network net-$n"
        $k rmi -f "own-$n" > /dev/null && echo "gone image own-$n"
    }
done
