//! Connections on the way to their server: balanced, and cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Whole,
    Silent,
    Refusing,
}

/// A port of loopback that gives connections to some addresses by turns, as kube-proxy might.
pub(crate) struct Wire {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    state: watch::Sender<State>,
    _accepting: AbortOnDropHandle<()>,
}

impl Wire {
    pub(crate) async fn to(addresses: impl Into<Vec<SocketAddr>>) -> Self {
        Self::from(0, addresses).await
    }

    /// One from a port that was reserved for it.
    pub(crate) async fn from(port: u16, addresses: impl Into<Vec<SocketAddr>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (change, state) = watch::channel(State::Whole);
        let (addresses, connections) = (addresses.into(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let address = addresses[count.fetch_add(1, Ordering::Relaxed) % addresses.len()];
                tokio::spawn(forward(client, address, state.clone()));
            }
        });
        Self {
            port,
            connections,
            state: change,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// From now on nothing comes through, and nobody is told: connections stay open in silence, as when packets are lost.
    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Silent);
    }

    /// From now on every connection is ended at once, those that there are too.
    pub(crate) fn refuse(&self) {
        self.state.send_replace(State::Refusing);
    }

    /// Ends the connections that fell silent, and lets new ones through.
    pub(crate) fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn forward(mut client: TcpStream, address: SocketAddr, mut state: watch::Receiver<State>) {
    let whole = *state.borrow_and_update() == State::Whole;
    if whole {
        let mut told = state.clone();
        let forwarding = async {
            if let Ok(mut server) = TcpStream::connect(address).await {
                // How a connection ends is its ends' affair.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        };
        tokio::select! {
            () = forwarding => return,
            // An error means that the wire is gone.
            _ = told.changed() => {}
        }
    }
    let _ = state.wait_for(|state| *state != State::Silent).await;
}
