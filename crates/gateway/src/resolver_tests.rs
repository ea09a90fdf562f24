use super::*;
use crate::names::NamePattern;

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";

fn reply(last: u8) -> Vec<u8> {
    let mut reply = QUERY.to_vec();
    reply[2] = 0x81;
    reply[7] = 1;
    reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x05\x06\x07");
    reply.push(last);
    reply
}

/// A resolver on a loopback port that answers with 5.6.7.`last`; with a lie first.
async fn upstream(last: u8) -> SocketAddr {
    let sockets = Sockets::open().unwrap();
    let address = sockets.address;
    let udp = UdpSocket::from_std(sockets.udp).unwrap();
    let tcp = TcpListener::from_std(sockets.tcp).unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (_, from) = udp.recv_from(&mut buffer).await.unwrap();
            let mut lie = reply(66);
            lie[0] ^= 1;
            udp.send_to(&lie, from).await.unwrap();
            udp.send_to(&reply(last), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let _ = read_message(&mut stream).await.unwrap();
            write_message(&mut stream, &reply(last)).await.unwrap();
            // Closed at once, as many resolvers do.
        }
    });
    address
}

async fn start(upstreams: Vec<SocketAddr>) -> (Arc<Resolver>, Arc<Learned>, SocketAddr) {
    let learned = Arc::new(Learned::new(vec![NamePattern::parse("example.org").unwrap()]));
    let resolver = Arc::new(Resolver::new(&[], Arc::clone(&learned)));
    *resolver.upstream.write().unwrap() = upstreams;
    let sockets = Sockets::open().unwrap();
    let address = sockets.address;
    tokio::spawn(Arc::clone(&resolver).serve(sockets));
    (resolver, learned, address)
}

async fn ask_once(address: SocketAddr) -> Vec<u8> {
    tokio::time::timeout(Duration::from_secs(20), ask_udp(address, QUERY)).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_next_resolver_is_asked_and_a_lie_is_not_believed() {
    // Nobody listens there: the kernel says so at once.
    let closed = Sockets::open().unwrap().address;
    let (_, learned, address) = start(vec![closed, upstream(8).await]).await;
    assert_eq!(ask_once(address).await, reply(8));
    assert!(learned.contains("5.6.7.8".parse().unwrap(), Instant::now()));
    assert!(!learned.contains("5.6.7.66".parse().unwrap(), Instant::now()));
}

#[tokio::test]
async fn resolvers_change_while_it_runs() {
    let (resolver, _, address) = start(vec![upstream(8).await]).await;
    assert_eq!(ask_once(address).await, reply(8));
    *resolver.upstream.write().unwrap() = vec![upstream(9).await];
    assert_eq!(ask_once(address).await, reply(9));
    resolver.set(&["192.0.2.1".parse().unwrap(); 9]);
    assert_eq!(resolver.upstream().len(), resolv_conf::MAX_RESOLVERS);
}

#[tokio::test]
async fn one_tcp_conversation_outlives_many_upstream() {
    let (_, _, address) = start(vec![upstream(8).await]).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        write_message(&mut stream, QUERY).await.unwrap();
        assert_eq!(read_message(&mut stream).await.unwrap(), reply(8));
    }
}

#[tokio::test]
async fn without_a_resolver_a_question_fails_at_once() {
    let (_, _, address) = start(Vec::new()).await;
    let reply = ask_once(address).await;
    assert_eq!((reply[2] & 0x80, reply[3] & 0x0f), (0x80, 2), "SERVFAIL");
}

#[tokio::test]
async fn a_resolver_without_tcp_is_asked_by_udp() {
    let udp_only = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp_only.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (_, from) = udp_only.recv_from(&mut buffer).await.unwrap();
        udp_only.send_to(&reply(8), from).await.unwrap();
    });
    let (_, _, address) = start(vec![address]).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    write_message(&mut stream, QUERY).await.unwrap();
    assert_eq!(read_message(&mut stream).await.unwrap(), reply(8));
}
