//! A small hub for `tests/hub.rs`: the listing, HEAD and GET of files, large ones redirected to a storage of their own,
//! and troubles on demand.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// The first transfer of the weights ends half-way.
    BreaksOff,
    /// The same, from a storage that answers every request with the whole.
    BreaksOffWithoutRanges,
    /// The first requests are answered with 503.
    BusyAtFirst,
    /// One byte of the weights is another.
    Damages,
    /// Nothing without `Authorization: Bearer secret`.
    WantsToken,
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub that serves one model as `test/tiny`, on a port of its own, until the process ends.
pub struct Hub {
    pub address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    pub fn start(model: &Path, trouble: Trouble) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let storage = TcpListener::bind("127.0.0.1:0").unwrap();
        let storage_address = format!("http://{}", storage.local_addr().unwrap());
        let entries = std::fs::read_dir(model).unwrap().map(|e| e.unwrap().path());
        let mut files: HashMap<String, Vec<u8>> =
            entries.map(|p| (p.file_name().unwrap().to_str().unwrap().into(), std::fs::read(&p).unwrap())).collect();
        files.insert("pytorch_model.bin".into(), b"not wanted".to_vec());
        files.insert("README.md".into(), b"not wanted".to_vec());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let served = Arc::new(Served {
            files,
            trouble,
            storage: storage_address,
            requests: requests.clone(),
            busy: Mutex::new(2),
            broken: Mutex::new(false),
        });
        for listener in [listener, storage] {
            let served = served.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let served = served.clone();
                    std::thread::spawn(move || served.answer(stream));
                }
            });
        }
        Hub { address, requests }
    }

    /// `METHOD path authorization range` of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

struct Served {
    files: HashMap<String, Vec<u8>>,
    trouble: Trouble,
    storage: String,
    requests: Arc<Mutex<Vec<String>>>,
    busy: Mutex<u32>,
    broken: Mutex<bool>,
}

struct Reply {
    status: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Bytes of the body that are really sent.
    sent: usize,
}

fn reply(status: &'static str, body: impl Into<Vec<u8>>) -> Reply {
    let body = body.into();
    Reply { status, headers: Vec::new(), sent: body.len(), body }
}

impl Served {
    fn answer(&self, stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let Some(first) = lines.next() else { return };
        let mut words = first.split(' ').map(str::to_string);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let (mut token, mut range) = (String::new(), String::new());
        for line in lines.by_ref().take_while(|l| !l.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            match name.to_ascii_lowercase().as_str() {
                "authorization" => token = value.trim().into(),
                "range" => range = value.trim().into(),
                _ => {}
            }
        }
        self.requests.lock().unwrap().push(format!("{method} {path} {token} {range}"));
        let reply = self.reply(&path, &token, &range);
        let mut out = stream;
        let mut head =
            format!("HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        // A client that hung up has seen enough.
        let _ = out.write_all(format!("{head}\r\n").as_bytes());
        if method == "GET" {
            let _ = out.write_all(&reply.body[..reply.sent]);
        }
    }

    fn reply(&self, path: &str, token: &str, range: &str) -> Reply {
        if self.trouble == Trouble::BusyAtFirst {
            let mut left = self.busy.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return reply("503 Service Unavailable", "");
            }
        }
        if let Some(name) = path.strip_prefix("/storage/") {
            return self.stored(name, range);
        }
        if self.trouble == Trouble::WantsToken && token != "Bearer secret" {
            return reply("401 Unauthorized", "");
        }
        match path {
            "/api/models/test/tiny/revision/main?blobs=true" => {
                let names: Vec<_> = self
                    .files
                    .iter()
                    .map(|(name, bytes)| serde_json::json!({ "rfilename": name, "size": bytes.len() }))
                    .collect();
                reply("200 OK", serde_json::json!({ "sha": COMMIT, "siblings": names }).to_string())
            }
            "/api/models/test/gguf-only/revision/main?blobs=true" => {
                reply("200 OK", format!(r#"{{ "sha": "{COMMIT}", "siblings": [{{ "rfilename": "q4.gguf" }}] }}"#))
            }
            "/api/models/test/evil/revision/main?blobs=true" => {
                let names = r#"[{ "rfilename": "../../../evil" }, { "rfilename": "/evil" }]"#;
                reply("200 OK", format!(r#"{{ "sha": "{COMMIT}", "siblings": {names} }}"#))
            }
            _ => match path.strip_prefix(&format!("/test/tiny/resolve/{COMMIT}/")) {
                Some(name) if self.files.contains_key(name) => self.resolved(name),
                _ => reply("404 Not Found", ""),
            },
        }
    }

    /// Small files at once; the weights are announced, and lie elsewhere.
    fn resolved(&self, name: &str) -> Reply {
        let bytes = &self.files[name];
        if name != "model.safetensors" {
            let mut small = reply("200 OK", bytes.clone());
            small.headers.push(("ETag".into(), format!("W/\"{:040x}\"", bytes.len() * 31 + name.len())));
            return small;
        }
        let hash: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        let mut moved = reply("302 Found", "");
        moved.headers = vec![
            ("Location".into(), format!("{}/storage/{name}", self.storage)),
            ("X-Linked-Etag".into(), format!("\"{hash}\"")),
            ("X-Linked-Size".into(), bytes.len().to_string()),
        ];
        moved
    }

    fn stored(&self, name: &str, range: &str) -> Reply {
        let mut bytes = self.files[name].clone();
        if self.trouble == Trouble::Damages {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        let from = range.strip_prefix("bytes=").and_then(|r| r.strip_suffix('-')?.parse::<usize>().ok());
        let mut answer = match from {
            Some(from) if self.trouble != Trouble::BreaksOffWithoutRanges => {
                reply("206 Partial Content", &bytes[from..])
            }
            _ => reply("200 OK", bytes),
        };
        let breaks = matches!(self.trouble, Trouble::BreaksOff | Trouble::BreaksOffWithoutRanges);
        if breaks && !std::mem::replace(&mut *self.broken.lock().unwrap(), true) {
            answer.sent /= 2;
        }
        answer
    }
}
