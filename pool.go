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
// callers. It speaks HTTP/1.1 only, since net/http repeats a login over HTTP/2 by
// itself.
var sharedTransport = sync.OnceValue(newTransport)

func newTransport() *http.Transport {
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &http.Transport{
		Protocols: http1,
		Proxy:     http.ProxyFromEnvironment,
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
		MaxIdleConns:           1024, // a burst of logins needs a connection for each
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        4 * time.Second, // shorter than that of any server, so that a login never meets a closed connection
		MaxResponseHeaderBytes: 64 << 10,
	}
}
