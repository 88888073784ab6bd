//! Why a server does not serve requests at present: from the error of a connection, or from its response.

use crate::store::Outage;

/// The outage that an error of a connection stands for.
pub(super) fn of_connection(error: &(dyn std::error::Error + 'static)) -> Outage {
    match error_chain(error) {
        _ if is_untrusted(error) => Outage::Untrusted,
        // A gRPC port answers a request of HTTP/1.1, or sends before there is one, a frame of HTTP/2.
        chain if chain.contains("invalid HTTP version") || chain.contains("unexpected message") => {
            Outage::NotHttp
        }
        _ => Outage::Down,
    }
}

/// The outage that the error message of a response stands for.
pub(super) fn of_response(message: &str) -> Outage {
    let message = message.to_lowercase();
    let is_read_only = ["read-only", "read only", "readonly", "no space left"]
        .iter()
        .any(|sign| message.contains(sign));
    match is_read_only {
        true => Outage::ReadOnly,
        false => Outage::Down,
    }
}

/// The cause in words, followed by the message of the server or of the connection.
pub(super) fn explain(outage: Outage, message: String) -> String {
    match outage {
        Outage::ReadOnly => {
            format!("it takes no more pages: read-only, its disk is nearly full ({message})")
        }
        Outage::NotHttp => format!("this port does not answer in HTTP ({message})"),
        Outage::Untrusted | Outage::Down => message,
    }
}

/// Whether a connection failed because the certificate of the server is not trusted.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return true;
    }
    // `source` of an I/O error skips the wrapped error itself, which may be the one.
    let inner = error.downcast_ref().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| is_untrusted(inner)) || error.source().is_some_and(is_untrusted)
}

/// Whether an error is transient: caused by the state of the server, not by the request.
pub(super) fn is_transient(message: &str) -> bool {
    const SIGNS: [&str; 18] = [
        "not enough memory",
        "read-only",
        "read only",
        "readonly",
        "no space left",
        "cannot achieve consistency level",
        "cannot reach enough replicas",
        "connection refused",
        "connection reset",
        "leader not found",
        "shutting down",
        "context deadline exceeded",
        "context canceled",
        "already shut",
        "shutdown in progress",
        "already closed",
        "broken pipe",
        // "could not find index for class …": a server that has just started still loads its collections.
        "deleted in the meantime",
    ];
    let message = message.to_lowercase();
    SIGNS.iter().any(|sign| message.contains(sign))
}

/// An error with its causes, without repeated text.
pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn untrusted_certificates_are_detected_by_type() {
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = std::io::Error::other(std::io::Error::other(refused));
        assert!(is_untrusted(&wrapped));
        assert!(!is_untrusted(&std::io::Error::other("no certificate here")));
    }

    #[test]
    fn a_grpc_port_is_not_http() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            // An empty SETTINGS frame of HTTP/2, then GOAWAY: the answer of gRPC servers.
            socket
                .write_all(b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0")
                .unwrap();
        });
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::blocking::Client::builder()
            .no_proxy()
            .build()
            .unwrap();
        let error = client.get(url).send().unwrap_err();
        server.join().unwrap();
        assert_eq!(of_connection(&error), Outage::NotHttp, "{error:?}");
    }

    #[test]
    fn a_full_disk_is_named() {
        let message = "put local object: store is read-only due to: disk usage too high";
        assert_eq!(of_response(message), Outage::ReadOnly);
        assert!(
            explain(Outage::ReadOnly, message.to_owned()).starts_with("it takes no more pages")
        );
        assert_eq!(of_response("leader not found"), Outage::Down);
    }
}
