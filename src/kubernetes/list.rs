//! Lists a collection of any size without holding it: each item is handed over as soon as it is parsed, so that memory
//! is bounded by one item and a few network chunks, also where the API server answers in one page (as it does from its
//! watch cache, 15 MB for 10,000 namespaces).

use std::fmt;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::time::Duration;

use futures_util::{AsyncBufRead, AsyncBufReadExt};
use hyper::Request;
use kube::Client;
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tokio::sync::mpsc;

/// Chunks that may wait for the parser, and the most bytes of one. The HTTP client's own grow to 400 KB each when a long
/// list comes in fast, and what two lists at the start leave free behind them stays in memory.
const CHUNKS_AHEAD: usize = 4;
const CHUNK_BYTES: usize = 16 * 1024;

/// The `metadata` of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMeta {
    pub(super) resource_version: String,
    /// The token of the next page; absent or empty on the last.
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl ListMeta {
    pub(super) fn next_page(&self) -> Option<&str> {
        self.next.as_deref().filter(|token| !token.is_empty())
    }
}

/// Lists one page and folds its items into `all`, which comes back with the list's metadata. Fails when the API server
/// is silent for longer than `silence`; items seen until a failure have been folded.
pub(super) async fn page<T, A>(
    client: &Client,
    request: Request<Vec<u8>>,
    silence: Duration,
    mut all: A,
    fold: fn(&mut A, T),
) -> kube::Result<(A, ListMeta)>
where
    T: DeserializeOwned + 'static,
    A: Send + 'static,
{
    let body = tokio::time::timeout(silence, client.request_stream(request))
        .await
        .map_err(|_| kube::Error::ReadEvents(silent(silence)))??;
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    // Parsing pulls, and the network pushes; the parser waits on a thread of its own.
    let parse = tokio::task::spawn_blocking(move || {
        let mut reader = serde_json::Deserializer::from_reader(Chunks::new(receiver));
        let each = |item: T| fold(&mut all, item);
        let meta = List(each, PhantomData).deserialize(&mut reader)?;
        reader.end()?;
        Ok::<_, serde_json::Error>((all, meta))
    });
    pump(body, &sender, silence).await;
    drop(sender);
    match parse.await {
        Ok(Err(error)) if error.is_io() => Err(kube::Error::ReadEvents(error.into())),
        Ok(parsed) => parsed.map_err(kube::Error::SerdeError),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(kube::Error::ReadEvents(io::Error::other(error))),
    }
}

fn silent(limit: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the API server was silent for {limit:?}"),
    )
}

type Chunk = io::Result<Vec<u8>>;

/// Hands the body over until it ends or fails, or until the parser has stopped listening.
async fn pump(body: impl AsyncBufRead, sender: &mpsc::Sender<Chunk>, silence: Duration) {
    let mut body = std::pin::pin!(body);
    loop {
        let read = tokio::time::timeout(silence, body.fill_buf()).await;
        let chunk = match read.unwrap_or_else(|_| Err(silent(silence))) {
            Ok([]) => return,
            Ok(bytes) => Ok(bytes[..bytes.len().min(CHUNK_BYTES)].to_vec()),
            Err(error) => Err(error),
        };
        let length = chunk.as_ref().map_or(0, Vec::len);
        if sender.send(chunk).await.is_err() || length == 0 {
            return;
        }
        body.as_mut().consume_unpin(length);
    }
}

/// The chunks as one byte stream, for a thread that may block.
struct Chunks {
    receiver: mpsc::Receiver<Chunk>,
    current: io::Cursor<Vec<u8>>,
}

impl Chunks {
    fn new(receiver: mpsc::Receiver<Chunk>) -> io::BufReader<Self> {
        io::BufReader::new(Self {
            receiver,
            current: io::Cursor::default(),
        })
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.current.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = io::Cursor::new(chunk?),
                None => return Ok(0),
            }
        }
    }
}

/// Reads a `List` object and gives each of its items away.
struct List<F, T>(F, PhantomData<T>);

impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for List<F, T> {
    type Value = ListMeta;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<ListMeta, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for List<F, T> {
    type Value = ListMeta;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Kubernetes objects")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<ListMeta, M::Error> {
        let mut meta = ListMeta::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => meta = map.next_value()?,
                "items" => map.next_value_seed(Items(&mut self.0, PhantomData))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(meta)
    }
}

struct Items<'f, F, T>(&'f mut F, PhantomData<T>);

impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Items<'_, F, T> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Items<'_, F, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of items, or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<(), S::Error> {
        while let Some(item) = items.next_element()? {
            self.0(item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(json: &str) -> serde_json::Result<(Vec<u32>, ListMeta)> {
        let mut items = Vec::new();
        let mut reader = serde_json::Deserializer::from_reader(json.as_bytes());
        let meta = List(|item| items.push(item), PhantomData).deserialize(&mut reader)?;
        Ok((items, meta))
    }

    #[test]
    fn a_list_gives_its_items_in_order_wherever_its_metadata_stands() {
        let (items, meta) = listed(
            r#"{"kind":"List","metadata":{"resourceVersion":"7","continue":"x"},"items":[1,2]}"#,
        )
        .unwrap();
        assert_eq!((items, meta.next_page()), (vec![1, 2], Some("x")));
        let (items, meta) =
            listed(r#"{"items":[3],"metadata":{"resourceVersion":"8","continue":""}}"#).unwrap();
        assert_eq!((items, meta.next_page()), (vec![3], None));
        assert_eq!(meta.resource_version, "8");
        assert!(
            listed(r#"{"items":null,"metadata":{}}"#)
                .unwrap()
                .0
                .is_empty()
        );
        assert!(listed(r#"{"items":[1,2"#).is_err());
    }
}
