//! A TCP connection over loopback that is always in use: numbered messages
//! one way, their numbers back.

use super::Living;
use super::moving::Progress;
use crate::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const MESSAGE: usize = 8192;

/// The connection, a thread at each end.
pub struct Connection {
    progress: Progress,
    ends: [SocketAddr; 2],
}

impl Connection {
    /// Connects and starts both threads.
    pub fn new() -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .map_err(Error::refused("listening on loopback"))?;
        let address = listener.local_addr().map_err(Error::refused("asking for the port"))?;
        let client = TcpStream::connect(address).map_err(Error::refused("connecting"))?;
        let (server, peer) = listener.accept().map_err(Error::refused("accepting"))?;
        let progress = Progress::default();
        // The server's error shows as a stalled client.
        std::thread::spawn(move || serve(server));
        progress.watch(move |progress| send(client, progress));
        Ok(Self { progress, ends: [peer, address] })
    }
}

fn serve(mut server: TcpStream) -> Result<(), Error> {
    let mut message = [0; MESSAGE];
    for number in 0u64.. {
        server.read_exact(&mut message).map_err(Error::refused("receiving"))?;
        if message != [number as u8; MESSAGE] {
            return Err(Error::Damaged { place: "the TCP stream", at: number * MESSAGE as u64 });
        }
        server.write_all(&number.to_le_bytes()).map_err(Error::refused("acknowledging"))?;
    }
    Ok(())
}

fn send(mut client: TcpStream, progress: &Progress) -> Result<(), Error> {
    for number in 0u64.. {
        client.write_all(&[number as u8; MESSAGE]).map_err(Error::refused("sending"))?;
        let mut seen = [0; 8];
        client.read_exact(&mut seen).map_err(Error::refused("waiting for the number"))?;
        if seen != number.to_le_bytes() {
            return Err(Error::Damaged { place: "the numbers sent back", at: number * 8 });
        }
        progress.step();
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

impl Living for Connection {
    fn check(&mut self) -> Result<String, Error> {
        let messages = self.progress.wait_for_more("the TCP connection")?;
        let [client, server] = self.ends;
        Ok(format!("{messages} messages, port {} to {}", client.port(), server.port()))
    }

    fn progress(&self) -> u64 {
        self.progress.steps()
    }
}
