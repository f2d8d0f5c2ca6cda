package sessiontest_test

import (
	"net"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnyAddressToListenOnHasAURLThatWorksOnLoopback(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "127.0.0.1:0", "localhost:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			t.Parallel()
			srv, err := sessiontest.Listen(addr, alice)
			if err != nil && strings.Contains(addr, "::") {
				t.Skip("this machine has no IPv6: ", err)
			}
			require.NoError(t, err)
			defer srv.Close()
			u, err := url.Parse(srv.URL)
			require.NoError(t, err)
			assert.True(t, net.ParseIP(u.Hostname()).IsLoopback(), srv.URL)
			assert.Equal(t, 201, logIn(t, srv, good).status)
			assert.Len(t, srv.Requests(), 1)
		})
	}
}

func TestListenTLSServesTheCertificateOfTheCaller(t *testing.T) {
	t.Parallel()
	other := httptest.NewTLSServer(nil)
	defer other.Close()
	srv, err := sessiontest.ListenTLS("0.0.0.0:0", other.TLS.Certificates[0], alice)
	require.NoError(t, err)
	defer srv.Close()
	assert.Regexp(t, "^https://127.0.0.1:", srv.URL)
	assert.Equal(t, 201, logIn(t, srv, good).status, "the server's client trusts it")
	resp, err := other.Client().Get(srv.URL)
	require.NoError(t, err, "so does any client that trusts the certificate")
	resp.Body.Close()
}

func TestLocalhostIsServedOnBothLoopbackAddresses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	_, err = sessiontest.Listen("localhost:"+port, alice)
	assert.Error(t, err, "another program would answer some clients")
	certificate := httptest.NewTLSServer(nil)
	defer certificate.Close()
	plain, err := sessiontest.Listen("LOCALHOST:0", alice)
	require.NoError(t, err)
	secure, err := sessiontest.ListenTLS("localhost:0", certificate.TLS.Certificates[0], alice)
	require.NoError(t, err)
	for _, srv := range []*sessiontest.Server{plain, secure} {
		defer srv.Close()
		u, err := url.Parse(srv.URL)
		require.NoError(t, err)
		hosts := []string{"127.0.0.1:" + u.Port(), "[::1]:" + u.Port()}
		for _, host := range hosts {
			resp, err := srv.Client().PostForm(u.Scheme+"://"+host+sessions, url.Values{"username": {"alice"}, "password": {"secret"}})
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 201, resp.StatusCode, host)
		}
		srv.Close()
		for _, host := range hosts {
			_, err := net.Dial("tcp", host)
			assert.Error(t, err, host)
		}
	}
}

func TestListenRefusesAnAddressThatIsTaken(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	_, err := sessiontest.Listen(strings.TrimPrefix(srv.URL, "http://"))
	assert.Error(t, err)
}

func TestManyGoroutinesMayCloseAServerAtTheSameTime(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(alice)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if i%4 == 0 {
				srv.Close()
				return
			}
			srv.Inject(sessiontest.Fault{Reset: i%2 == 0, Surplus: "x"})
			resp, err := srv.Client().Post(srv.URL+sessions, form, strings.NewReader(good))
			if err == nil {
				resp.Body.Close()
			}
		}()
	}
	wg.Wait()
	srv.Close()
}

func BenchmarkServer(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		sessiontest.NewServer(alice).Close()
	}
}
