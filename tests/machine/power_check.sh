# REL-33: after the power was cut. The list of what was done before is $t/done.
k="$bin --root $t/power"
$k ps -a > $out 2>&1; is 'ps' "$? $(grep -c -i -e error -e damaged $out)" '0 0'
$k images > $out 2>&1; is 'images' "$? $(grep -c -i -e error -e damaged $out)" '0 0'
is 'nothing runs' "$($k ps -q)" ''
grep '^gone ' $t/done | cut -d' ' -f2- > $t/gone
missing='' back='' wrong=''
while read -r kind name stamp; do
    [ "$kind" != end ] || wrong="$wrong (no command was interrupted)"
    [ -n "$name" ] || continue
    ! grep -q -x "$kind $name" $t/gone || continue
    $k "$kind" inspect "$name" > /dev/null 2> $out || missing="$missing $kind $name ($(head -n 1 $out))"
    [ -z "$stamp" ] || [ "$($k run --rm --net=none "$name" cat /stamp 2>&1)" = "$stamp" ] || wrong="$wrong $name"
done < <(grep -v '^gone ' $t/done)
while read -r kind name; do
    ! $k "$kind" exists "$name" 2> /dev/null || back="$back $kind $name"
done < $t/gone
is "all that was done is there ($(grep -c -v '^gone ' $t/done))" "$missing" ''
is "all that was removed stays so ($(wc -l < $t/gone))" "$back" ''
is 'images hold what was in them' "$wrong" ''
ran=$(sed -n 's/^container \(ran-.*\)/\1/p' $t/done | tail -n 1)
if [ -n "$ran" ]; then
    is 'nobody invents a code' "$($k inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$ran")" 'exited -1'
    # What had reached the disk of a log is shown; a last line may be torn.
    $k logs "$ran" > $out 2>&1; is 'its log' "$? $(sed '$d' $out | grep -c -v '^line [0-9]*$')" '0 0'
    $k start "$ran" > /dev/null; is 'start' "$? $($k inspect --format '{{.State.Status}}' "$ran")" '0 running'
fi
# What was interrupted can be done now.
if [ -d $t/power-registry ]; then
    . $t/registry.sh
    serve $t/power-registry
    pulled= number=$(sed -n 's/^image [0-9.:]*.img:1 \(.*\)-1$/\1/p' $t/done)
    for i in $(seq 12); do
        $k pull -q --tls-verify=false "127.0.0.1:5005/img:$i" > /dev/null 2> $out || cat $out
        pulled="$pulled$($k run --rm --net=none "127.0.0.1:5005/img:$i" cat /stamp 2>&1) "
    done
    is 'the rest can be pulled' "$pulled" "$(for i in $(seq 12); do printf '%s ' "$number-$i"; done)"
    $bin --root $t/power-source system reset -f > /dev/null 2>&1
    rm -rf $t/power-registry
fi
$k system check > $out 2>&1 || cat $out; is 'system check' "$($k system check > /dev/null 2>&1; echo $?)" 0
comes 'nothing half-made is left' '' ls -A $t/power/staging
$k rm -f -t0 -a > /dev/null; is 'rm of all' $? 0
done_here
