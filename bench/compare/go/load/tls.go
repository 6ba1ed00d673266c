package load

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"sync/atomic"
)

// agreed is the name of the cipher of the latest connection over TLS.
var agreed atomic.Value

func agreedCipher() string {
	name, _ := agreed.Load().(string)
	return name
}

// ClientTLS returns the configuration of a client over TLS 1.3, whose measurement names the cipher.
func (order Order) ClientTLS() (*tls.Config, error) {
	file, err := os.ReadFile(order.Authority)
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(file) {
		return nil, errors.New("no certificate in " + order.Authority)
	}
	note := func(state tls.ConnectionState) error {
		agreed.Store(tls.CipherSuiteName(state.CipherSuite))
		return nil
	}
	return &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS13, VerifyConnection: note}, nil
}

// serverTLS returns the configuration of a server over TLS 1.3.
func serverTLS(certFile, keyFile string) (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	return &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}, err
}
