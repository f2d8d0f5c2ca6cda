package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// newCertificate creates an authority, and a certificate that it signs for host
// names and IP addresses. There are two certificates, since some clients refuse a
// server that uses the certificate of an authority. The key of the authority is not
// kept.
func newCertificate(names []string) (cert tls.Certificate, authorityPEM []byte, err error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, err
	}
	start := time.Now().Add(-time.Hour) // for clients whose clock is behind
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(start.UnixNano()), Subject: pkix.Name{CommonName: "filessession-fake authority"},
		NotBefore: start, NotAfter: start.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(start.UnixNano() + 1), Subject: pkix.Name{CommonName: "filessession-fake"},
		NotBefore: start, NotAfter: start.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, name)
		}
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return cert, nil, err
	}
	signed, err := x509.ParseCertificate(authorityDER) // has the key ID that the server's certificate refers to
	if err != nil {
		return cert, nil, err
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, signed, key.Public(), authorityKey)
	if err != nil {
		return cert, nil, err
	}
	authorityPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authorityDER})
	return tls.Certificate{Certificate: [][]byte{serverDER}, PrivateKey: key}, authorityPEM, nil
}

// writeFile replaces a file at once, so that a client that waits for the file never
// reads a part of it.
func writeFile(name string, data []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Chmod(0o644) // clients may be other users
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), name)
}
