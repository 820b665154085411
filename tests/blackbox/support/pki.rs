//! A private certificate authority that lives as long as its test.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority that nobody trusts but who is told to.
pub(crate) struct TestCa(CertifiedIssuer<'static, KeyPair>);

impl TestCa {
    pub(crate) fn new() -> Self {
        let params = authority("root");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// What a client must trust.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and key of a client.
    pub(crate) fn client(&self, name: &str) -> CertifiedKey {
        let [certificate, key] = self.client_pem(name);
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&read_key(&key)).unwrap();
        CertifiedKey::new(read_chain(&certificate), key)
    }

    /// The same in PEM, the certificate first.
    pub(crate) fn client_pem(&self, name: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        [certificate.pem(), key.serialize_pem()]
    }

    /// The chain of a server that an authority below this one has signed, and its key, in PEM.
    pub(crate) fn server_pem(&self, name: &str) -> [String; 2] {
        let params = authority("intermediate");
        let between =
            CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &between).unwrap();
        [leaf.pem() + &between.pem(), key.serialize_pem()]
    }

    /// A server's TLS with a certificate for `name`, for HTTP/1.1.
    pub(crate) fn server(&self, name: &str) -> Arc<ServerConfig> {
        let [chain, key] = self.server_pem(name);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(read_chain(&chain), read_key(&key));
        Arc::new(config.unwrap())
    }
}

fn read_chain(pem: &str) -> Vec<CertificateDer<'static>> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes());
    chain.map(Result::unwrap).collect()
}

fn read_key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}
