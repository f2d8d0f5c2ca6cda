package session

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

var shared struct {
	once      sync.Once
	transport *http.Transport
}

// sharedTransport serves every client that brings none of its own.
func sharedTransport() *http.Transport {
	shared.once.Do(func() { shared.transport = newTransport() })
	return shared.transport
}

// newTransport makes a transport for mass logins: many connections to a host,
// made few at a time, so that all but the first ones resume their TLS. Idle ones
// close before any server or middlebox is known to close them, so that a lone
// login never meets a dead one.
func newTransport() *http.Transport {
	tr := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialPlain,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		TLSHandshakeTimeout:    10 * time.Second, // behind a proxy
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    256,
		MaxConnsPerHost:        256,
		IdleConnTimeout:        10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{WriteByteTimeout: 10 * time.Second},
	}
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 20 * time.Second}, // the handshake included
		Config:    tr.TLSClientConfig,                     // with the protocols that net/http sets before it dials
	}
	var hosts sync.Map // of channels: who dials holds a place
	tr.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _ := hosts.LoadOrStore(addr, make(chan struct{}, 8))
		places := host.(chan struct{})
		leave := func() {
			if <-places; len(places) == 0 {
				hosts.CompareAndDelete(addr, host)
			}
		}
		// net/http has ctx outlive the request, and the request may get another
		// connection meanwhile
		x := ctx.Value(exchangeKey{}).(*exchange)
		select {
		case places <- struct{}{}:
		case <-x.Done():
			return nil, context.Canceled
		}
		slow := time.AfterFunc(time.Second, leave) // who hangs keeps nobody out
		defer func() {
			if slow.Stop() {
				leave()
			}
		}()
		if x.Err() != nil || !x.waiting.Load() {
			return nil, context.Canceled
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer x.whenLeft(cancel)()
		return dialer.DialContext(ctx, network, addr)
	}
	return tr
}

// whenLeft calls f if x ends while it waits for a connection, unless stopped.
func (x *exchange) whenLeft(f func()) (stop func() bool) {
	return context.AfterFunc(x, func() {
		if x.waiting.Load() {
			f()
		}
	})
}

// dialPlain connects to loopback, or to the proxy of a host.
func dialPlain(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, addr)
	x := ctx.Value(exchangeKey{}).(*exchange)
	if err != nil || x.url.Scheme == "http" {
		return conn, err
	}
	return &tunnel{conn, x.whenLeft(func() { conn.Close() })}, nil
}

// tunnel is a connection to a proxy, which is closed if the exchange that wants
// it ends before the proxy says a word: net/http would wait a minute for that.
type tunnel struct {
	net.Conn
	spoke func() bool
}

func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if n > 0 {
		t.spoke()
	}
	return n, err
}
