package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// TLSLines switch STARTTLS on, with a certificate that the harness makes.
const TLSLines = "define(`confCACERT_PATH', `" + mailDir + "/tls')dnl\n" +
	"define(`confCACERT', `" + certFile + "')dnl\n" +
	"define(`confSERVER_CERT', `" + certFile + "')dnl\n" +
	"define(`confSERVER_KEY', `" + keyFile + "')dnl\n"

const (
	certFile = mailDir + "/tls/harness.crt"
	keyFile  = mailDir + "/tls/harness.key"
)

// makeCertificate writes a self-signed certificate for the server.
func makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: Hostname},
		DNSNames:     []string{Hostname},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	if err := replaceFile(certFile, string(text), 0o644); err != nil {
		return err
	}
	text = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	return replaceFile(keyFile, string(text), 0o600)
}
