# REL-33: makes and removes things until the power is cut, and says what a command has reported as done. tests/vm keeps that list.
#
#   power.sh N pull   pulls images, each with layers of its own; what it pulls from was written before
#   power.sh N run    imports, creates, runs (with a log that grows), commits, builds, removes
k="$bin --root $t/power"
r=$t/proot
rootfs $r cat echo
. $t/registry.sh
if [ "$2" = pull ]; then
    # Pushed from another store: nothing of them is in the one that pulls.
    src="$bin --root $t/power-source"
    serve $t/power-registry
    for i in $(seq 12); do
        echo "$1-$i" > $r/stamp
        head -c 3000000 /dev/urandom > $r/noise
        tar -C $r -c . | $src import -q - "src-$i" > /dev/null && $src push -q --tls-verify=false "src-$i" "127.0.0.1:5005/img:$i" > /dev/null
    done
    rm $r/noise
    sync
    echo 'ready' >&2
    for i in $(seq 12); do
        $k pull -q --tls-verify=false "127.0.0.1:5005/img:$i" > /dev/null && echo "image 127.0.0.1:5005/img:$i $1-$i"
    done
    # The cut should have come by now: whoever reads this list sees that it did not.
    echo 'end'
    exec sleep 1000
fi
$k image exists bb || { tar -C $r -c . | $k import -q - bb > /dev/null; }
mkdir -p $t/pbuild
i=0
while :; do
    i=$((i + 1))
    n=$1-$i
    echo "$n" > $r/stamp
    tar -C $r -c . | $k import -q - "img-$n" > /dev/null && echo "image img-$n $n"
    $k volume create "vol-$n" > /dev/null && echo "volume vol-$n"
    $k network create "net-$n" > /dev/null && echo "network net-$n"
    $k create --net=none --name "made-$n" bb sleep 100000 > /dev/null && echo "container made-$n"
    $k run -d --net=none --name "ran-$n" bb sh -c "echo $n > /stamp; i=0; while :; do i=\$((i+1)); echo line \$i; done" > /dev/null && echo "container ran-$n"
    $k commit -q "made-$n" "own-$n" > /dev/null && echo "image own-$n"
    # What a container that runs has written is there by then.
    until $k exec "ran-$n" cat /stamp > /dev/null 2>&1; do sleep 0.2; done
    $k commit -q "ran-$n" "live-$n" > /dev/null && echo "image live-$n $n"
    printf 'FROM bb\nRUN echo %s > /stamp\nRUN echo more > /more\n' "$n" > $t/pbuild/Containerfile
    $k build -q -t "built-$n" $t/pbuild > /dev/null && echo "image built-$n $n"
    # What is removed stays removed. Floods of more than two containers would leave nothing for the rest.
    [ $((i % 2)) = 0 ] || {
        $k rm -f -t0 "made-$n" > /dev/null && echo "gone container made-$n"
        $k volume rm "vol-$n" > /dev/null && echo "gone volume vol-$n"
        $k network rm "net-$n" > /dev/null && echo "gone network net-$n"
        $k rmi -f "own-$n" > /dev/null && echo "gone image own-$n"
    }
    [ $i = 1 ] || $k stop -t0 "ran-$1-$((i - 1))" > /dev/null
done
