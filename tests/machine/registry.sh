# A registry at 127.0.0.1:5005 that keeps its files in $1; ends with the shell. Other scripts read this one.
serve() {
    printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:5005"}\nlog: {level: error}\n' "$1" > "$1.yml"
    $t/bin/docker-registry serve "$1.yml" > "$1.log" 2>&1 &
    registry=$!
    trap 'kill $registry 2> /dev/null' EXIT
    for _ in $(seq 240); do
        [ "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:5005/v2/)" != 200 ] || return 0
        sleep 0.5
    done
    echo 'the registry does not answer' >&2
    return 1
}
