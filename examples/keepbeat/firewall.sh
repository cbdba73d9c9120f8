# Three hosts in network namespaces. This one is the client, behind a router that forgets connections
# after $1 idle seconds. $0 is keepbeat; the other arguments are its flags.
mount -t tmpfs none /run
mkdir /run/netns
ip netns add router
ip netns add server
ip link add c0 type veth peer name rc netns router
ip -n router link add rs type veth peer name s0 netns server
ip addr add 198.51.100.2/24 dev c0
ip link set c0 up
ip link set lo up
ip -n router addr add 198.51.100.1/24 dev rc
ip -n router link set rc up
ip -n router addr add 203.0.113.1/24 dev rs
ip -n router link set rs up
ip -n server addr add 203.0.113.2/24 dev s0
ip -n server link set s0 up
ip -n server link set lo up
ip route add default via 198.51.100.1
ip -n server route add default via 203.0.113.1
ip netns exec router sh -ec '
  echo 1 > /proc/sys/net/ipv4/ip_forward
  nft -f -
  echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose
  echo '"$1"' > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established
' <<RULES
table ip firewall {
  chain forward {
    type filter hook forward priority 0; policy accept;
    ct state established,related accept
    tcp dport 7000 ct state new tcp flags & (fin|syn|rst|ack) == syn accept
    drop
  }
}
RULES
shift
[ $# = 0 ] && exit 0
exec "$0" "$@"
