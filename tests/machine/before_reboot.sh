# Containers with restart policies, before the machine is started again: the user's, and root's on port 80.
case $(id -u) in 0) k="$bin --root /root/store" port=80 p=/root/kp ;; *) k="$bin --root $t/store" port=8080 p=$t/kp ;; esac
r=$(mktemp -d)
rootfs "$r" httpd wget
echo page > "$r/etc/page"
tar -C "$r" -c . | $k import -q - bb > /dev/null; is 'import' $? 0
rm -rf "$r"
$k run -d --name always --restart always -p $port:80 bb httpd -f -p 80 -h /etc > /dev/null; is 'run --restart always' $? 0
$k run -d --name unless --restart unless-stopped bb sleep 1000000 > /dev/null
$k run -d --name stopped --restart unless-stopped bb sleep 1000000 > /dev/null
$k run -d --name again --restart always bb sleep 1000000 > /dev/null
$k run -d --name no bb sleep 1000000 > /dev/null
$k run -d --rm --name gone bb sleep 1000000 > /dev/null
$k stop -t0 stopped again > /dev/null; is 'stop' $? 0
# A project: services that find each other, one in the network of another, one that was stopped, one that only failures start again.
mkdir -p $p
cat > $p/compose.yaml << YAML
services:
  web: {image: bb, command: [httpd, -f, -p, '80', -h, /etc], restart: always, ports: ['$((port + 1)):80']}
  app: {image: bb, command: &forever [sleep, '1000000'], restart: unless-stopped, depends_on: [web]}
  side: {image: bb, command: *forever, restart: always, network_mode: 'service:web'}
  job: {image: bb, command: *forever, restart: on-failure}
  idle: {image: bb, command: *forever, restart: unless-stopped}
YAML
$k compose -f $p/compose.yaml up -d > $out 2>&1; is 'compose up' $? 0
[ $bad = 0 ] || cat $out
$k compose -f $p/compose.yaml stop -t 0 idle > /dev/null 2>&1; is 'compose stop' $? 0
# A pod, of which one container is to run again; it needs the infra container.
$k pod create --network=none --name pod > /dev/null; is 'pod create' $? 0
$k run -d --pod pod --name member --restart always bb sleep 1000000 > /dev/null; is 'run --pod' $? 0
$k run -d --pod pod --name guest bb sleep 1000000 > /dev/null
$k system autostart > /dev/null; is 'system autostart' $? 0
sync
done_here
