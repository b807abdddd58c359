# What systemd does with units that Quadlet writes. quadlet/*.service are what podman 5.4.2's Quadlet makes of the files beside them
# (`QUADLET_UNIT_DIRS=tests/machine/quadlet /usr/libexec/podman/quadlet -user OUT`, without the sections X-…); here ketch carries them out.
# Then the same once more with ketch as the generator: tests/vm has put a link to it among systemd's.
k="$bin --root $t/quadlet-store"
r=$t/qroot
rootfs $r httpd wget cat
debian $t/qdebian
units=$HOME/.config/systemd/user
mkdir -p "$units" $t/qbuild
show() { systemctl --user show -P "$2" "$1"; }
up() { systemctl --user start "$1"; is "start $1" "$? $(systemctl --user is-active "$1")" "0 ${2:-active}"; }
# A container that does not end by itself when it is told to is a failed service, with podman as well: its monitor ends with its code.
down() { systemctl --user stop "$1"; is "stop $1" "$? $(systemctl --user is-active "$1") $(show "$1" Result) $(show "$1" ExecMainStatus)" "0 ${2:-inactive success 0}"; }
of() { $k inspect --format "$2" "$1" 2>&1; }
started=$(date +%s)
journal() { journalctl --user --since "@$started" -u "$1" -o cat --no-pager 2> /dev/null; }

# The images, one of them from a registry.
tar -C $r -c . | $k import -q - localhost/bb > /dev/null; is 'import' $? 0
. $t/registry.sh
serve $t/registry; is 'a registry' $? 0
$k push -q --tls-verify=false localhost/bb 127.0.0.1:5005/bb:1 > /dev/null; is 'push' $? 0
printf 'FROM localhost/bb AS first\nRUN echo made > /made\nFROM first AS last\nRUN echo "$STAGE" >> /made\nFROM first\n' > $t/qbuild/Containerfile
echo FROM_FILE=file > $t/quadlet.env
printf secret | $k secret create word - > /dev/null; is 'secret create' $? 0

services() {
is 'systemd understands them' "$(systemd-analyze --user verify --man=no "$1"/{web,client,ready,own,sleep}.service 2>&1 | grep -v -e 'wait-network-online' -e 'podman-user' -e '^/usr' | head -n 3)" ''

# Minimal.
up sleep.service
is 'its container' "$(of systemd-sleep '{{.State.Running}} {{.Config.Image}}')" 'true localhost/bb:latest'
is 'its main process is the monitor' "$(show sleep.service MainPID)" "$(of systemd-sleep '{{.State.ConmonPid}}')"
is 'its ID in a file' "$(cat "$XDG_RUNTIME_DIR/sleep.cid")" "$(of systemd-sleep '{{.Id}}')"
is 'status shows its processes' "$(systemctl --user status sleep.service --no-pager | grep -c 'sleep 100000')" 1
id=$(of systemd-sleep '{{.Id}}')
systemctl --user restart sleep.service; is 'restart' "$? $(of systemd-sleep '{{.State.Running}}') $([ "$(of systemd-sleep '{{.Id}}')" = "$id" ] || echo new)" '0 true new'
down sleep.service 'failed exit-code 137'
is 'nothing of it is left' "$($k ps -aq)$(ls "$XDG_RUNTIME_DIR"/sleep.cid 2> /dev/null)" ''

# Image, volume and network come with the container that needs them.
up web.service
is 'what it needs' "$(systemctl --user is-active bb-image.service data-volume.service net-network.service | tr '\n' ' ')" 'active active active '
is 'ready when healthy' "$(of web '{{.State.Health.Status}}')" healthy
is 'the published port' "$(curl -s -m 60 http://127.0.0.1:8091/page)" 'hello file'
is 'its address' "$($k exec web cat /proc/net/fib_trie | grep -c '172.31.7.200')$(of web '{{range .NetworkSettings.Networks}} {{.IPAddress}}{{end}}')" '2 172.31.7.200'
is 'its names' "$($k exec web cat /etc/hostname) $($k exec web sh -c 'while read a b; do [ "$b" = other ] && echo $a; done < /etc/hosts')" 'webhost 10.1.2.3'
is 'its environment' "$($k exec web sh -c 'echo "$OTHER"')" 'with space'
is 'read-only' "$($k exec web sh -c 'echo > /x' 2>&1 | grep -c 'Read-only') $($k exec web sh -c 'echo > /scratch/x && echo > /more/x && echo yes')" '1 yes'
is 'its limits' "$($k exec web cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max | tr '\n' ' ')$($k exec web sh -c 'ulimit -n')" '50 67108864 1000'
is 'its rights' "$($k exec web sh -c 'while read a b; do case $a in CapEff: | NoNewPrivs:) echo $b;; esac; done < /proc/1/status' | tr '\n' ' ')" '0000000000000400 1 '
is 'its labels' "$(of web '{{index .Config.Labels "app"}}|{{index .Config.Labels "io.containers.autoupdate"}}|{{index .Config.Labels "PODMAN_SYSTEMD_UNIT"}}')" 'web server|local|web.service'
is 'labels of volume and network' "$($k volume inspect --format '{{index .Labels "org.test.Key"}}' systemd-data) $($k network inspect --format '{{index .Labels "org.test.Key"}}' systemd-net)" 'value value'
up client.service
is 'what it has fetched is in the journal' "$(journal client.service | grep -c -x 'hello file')" 1
# Whatever ends the container: the service begins anew.
kill -9 "$(of web '{{.State.Pid}}')"
id=$(of web '{{.Id}}')
comes 'another one after a kill' 'new active' sh -c "id=\$($k inspect --format '{{.Id}}' web 2> /dev/null); [ -z \"\$id\" ] || [ \"\$id\" = '$id' ] || echo new \$(systemctl --user is-active web.service)"
systemctl --user stop client.service
down web.service 'failed exit-code 143'
down net-network.service
is 'a network stays until it is removed' "$($k network exists systemd-net; echo $?)" 0

# Readiness said by the container; its user is the caller.
up ready.service
is 'its user' "$(of systemd-ready '{{.State.Running}}') $($k exec systemd-ready id -u 2>&1)" "true $(id -u)"
down ready.service 'failed exit-code 137'

# Built when it is needed.
up own.service
comes 'built, with a secret' 'made,x,' sh -c "$k logs systemd-own | tr '\n' ','"
is 'its secret' "$($k exec systemd-own sh -c 'echo $WORD')" secret
down own.service 'failed exit-code 137'

# Instances of a template.
up scaled@one.service; up scaled@two.service
comes 'each knows its name' 'I am one,I am two,' sh -c "{ $k logs scaled-one; $k logs scaled-two; } | tr '\n' ','"
is 'they share a volume in memory' "$($k exec scaled-one sh -c 'echo here > /tmp/x') $($k exec scaled-two cat /tmp/x)" ' here'
down scaled@one.service; down scaled@two.service

systemctl --user stop data-volume.service tmp-volume.service bb-image.service
is 'no container is left' "$($k ps -aq)" ''
}

for file in $t/quadlet/*.service; do sed "s|/usr/bin/podman|$k|" "$file" > "$units/$(basename "$file")"; done
systemctl --user daemon-reload
services "$units"
for file in $t/quadlet/*.service; do rm -f "$units/$(basename "$file")"; done

# ketch's own generator: the store is named by drop-ins for all files of a kind.
files=$HOME/.config/containers/systemd
made=$XDG_RUNTIME_DIR/systemd/generator
mkdir -p "$files"
for file in $t/quadlet/*; do case $file in *.service) ;; *) cp "$file" "$files/" ;; esac; done
for kind in Container Volume Network Image Build Pod; do
    mkdir -p "$files/${kind,}.d"
    printf '[%s]\nGlobalArgs=--root %%h/t/quadlet-store\n' $kind > "$files/${kind,}.d/store.conf"
done
systemctl --user daemon-reload
# podman's order of flags differs each time, and its files were elsewhere.
words() { sed -e "s|$bin --root %h/t/quadlet-store|/usr/bin/podman|" -e '/^#/d' -e '/^SourcePath=/d' -e '/^WorkingDirectory=/d' "$1" | awk '/^\[/ {hidden = /^\[X-/} !hidden && NF' | tr ' ' '\n' | sort; }
for file in $t/quadlet/*.service; do
    name=$(basename "$file")
    is "$name is podman's" "$(diff <(words "$made/$name") <(words "$file") 2>&1)" ''
done
is 'it is wanted' "$(readlink "$made/default.target.wants/sleep.service")" ../sleep.service
services "$made"
# An instance by a link, and with a drop-in of its own; a file that is bad does not stop the others.
ln -s scaled@.container "$files/scaled@linked.container"
mkdir -p "$files/scaled@linked.container.d"
printf '[Container]\nHostName=of-the-link\n' > "$files/scaled@linked.container.d/name.conf"
printf '[Container]\nNoSuchKey=1\n' > "$files/bad.container"
systemctl --user daemon-reload
up scaled@linked.service
comes 'an instance by a link' 'I am linked' $k logs scaled-linked
is 'its drop-in' "$($k exec scaled-linked hostname 2>&1 || $k inspect --format '{{.Config.Hostname}}' scaled-linked)" of-the-link
down scaled@linked.service
is 'no service of a bad file' "$(systemctl --user show -P LoadState bad.service)" not-found
if $k pod create --help > /dev/null 2>&1; then
    printf '[Pod]\nPublishPort=127.0.0.1:8092:80\n' > "$files/group.pod"
    printf '[Container]\nImage=localhost/bb\nPod=group.pod\nExec=httpd -f -p 80 -h /etc\n' > "$files/member.container"
    systemctl --user daemon-reload
    up group-pod.service
    comes 'its container comes with it' active systemctl --user is-active member.service
    comes 'its port' 200 curl -s -o /dev/null -m 20 -w '%{http_code}' http://127.0.0.1:8092/hostname
    systemctl --user stop group-pod.service
    comes 'its container goes with it' '' $k ps -aq
fi
rm -rf "$files"
systemctl --user daemon-reload
$k system reset -f > /dev/null 2>&1; is 'reset' $? 0
comes 'nothing of ketch runs' '' pgrep -f "quadlet-store"
rm -rf $r $t/qdebian $t/qbuild $t/registry
done_here
