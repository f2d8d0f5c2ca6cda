package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

var errProxyAuth = errors.New("the proxy requires authentication (407); put its user name and password into the proxy URL of the environment")

// sharedTransport returns the transport of every client that was not given one. It
// limits neither connections nor handshakes: their number follows the number of
// callers.
var sharedTransport = sync.OnceValue(newTransport)

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			switch resp.StatusCode {
			case http.StatusOK:
				return nil
			case http.StatusProxyAuthRequired:
				return errProxyAuth
			}
			return fmt.Errorf("the proxy answered %d; check the proxy URL of the environment", resp.StatusCode)
		},
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        4 * time.Second, // shorter than that of any server, so that a login never meets a closed connection
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: 128 << 10,
			SendPingTimeout:           3 * time.Second, // with PingTimeout: a dead connection is found within 6 s
			PingTimeout:               3 * time.Second,
			WriteByteTimeout:          10 * time.Second,
		},
	}
}
