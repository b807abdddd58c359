# Containers with restart policies, before the machine is started again: the user's, and root's on port 80.
case $(id -u) in 0) k="$bin --root /root/store" port=80 ;; *) k="$bin --root $t/store" port=8080 ;; esac
r=$(mktemp -d)
rootfs "$r" httpd
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
$k system autostart > /dev/null; is 'system autostart' $? 0
sync
done_here
