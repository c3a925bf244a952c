package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The files of the public key infrastructure, relative to the state directory.
const (
	pkiDir      = "pki"
	caCertFile  = "pki/ca.crt"
	caKeyFile   = "pki/ca.key"
	servingCert = "pki/apiserver.crt"
	servingKey  = "pki/apiserver.key"
	saKeyFile   = "pki/sa.key" // signs ServiceAccount tokens

	// With these the API server asks a kubelet.
	nodeClientCert = "pki/kubelet-client.crt"
	nodeClientKey  = "pki/kubelet-client.key"
)

const validity = 10 * 365 * 24 * time.Hour

// authority is the throw-away certificate authority of one state directory. It signs the serving certificate and
// the client certificates alike.
type authority struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	certPEM []byte
}

// loadAuthority reads the authority of the state directory dir, or creates it: a restart keeps what clients trust.
func loadAuthority(dir string) (*authority, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, caCertFile))
	if errors.Is(err, fs.ErrNotExist) {
		return createAuthority(dir)
	}
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(pemBytes(certPEM))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caCertFile, err)
	}
	key, err := readKey(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s and %s do not belong together", caCertFile, caKeyFile)
	}
	return &authority{cert: cert, key: key, certPEM: certPEM}, nil
}

func createAuthority(dir string) (*authority, error) {
	key, err := loadKey(filepath.Join(dir, caKeyFile)) // one may be there: a start interrupted before the certificate
	if err != nil {
		return nil, err
	}
	template, err := certTemplate(pkix.Name{CommonName: "nbhd local cluster " + time.Now().UTC().Format(time.RFC3339)})
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	ca := &authority{cert: cert, key: key, certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	return ca, writeFile(filepath.Join(dir, caCertFile), ca.certPEM)
}

// issueServing signs a server certificate for the given addresses and the names that an API server has for its clients.
func (ca *authority) issueServing(name string, addresses ...net.IP) (certPEM, keyPEM []byte, err error) {
	return ca.issue(pkix.Name{CommonName: name}, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		c.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
		c.IPAddresses = addresses
	})
}

// issueClient signs a client certificate; Kubernetes takes the common name as the user, the organizations as groups.
func (ca *authority) issueClient(user string, groups ...string) (certPEM, keyPEM []byte, err error) {
	return ca.issue(pkix.Name{CommonName: user, Organization: groups}, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
}

func (ca *authority) issue(subject pkix.Name, refine func(*x509.Certificate)) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template, err := certTemplate(subject)
	if err != nil {
		return nil, nil, err
	}
	template.NotAfter = ca.cert.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	refine(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err = encodeKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, err
}

func certTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-time.Hour), // a client may run with a clock set back a little
		NotAfter:     now.Add(validity),
	}, nil
}

// loadKey reads the key in path, or creates it.
func loadKey(path string) (*ecdsa.PrivateKey, error) {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return readKey(path)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(path, keyPEM)
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(pemBytes(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// pemBytes returns the content of the first PEM block, or nil, which no parser accepts.
func pemBytes(data []byte) []byte {
	if block, _ := pem.Decode(data); block != nil {
		return block.Bytes
	}
	return nil
}

// writeFile replaces path as a whole, so that a killed start leaves no half-written file; it is for this user only.
func writeFile(path string, data []byte) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
