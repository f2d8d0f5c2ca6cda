package interop

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// program returns the path of a program. A test without it is skipped, except in
// CI, which must install all of them.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed; CI must install it", name)
	}
	t.Skipf("%s is not installed; install it to run this test", name)
	return ""
}

// startFake builds filessession-fake and runs it until the test ends. It returns
// the origins of the API and of the control API.
func startFake(t *testing.T, args ...string) (api, control string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "filessession-fake")
	out, err := exec.CommandContext(t.Context(), program(t, "go"), "build", "-o", binary, "github.com/filescom/session/sessiontest/cmd/filessession-fake").CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := exec.Command(binary, append([]string{"-addr", "127.0.0.1:0", "-control", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(stdout)
	for api == "" {
		require.True(t, lines.Scan(), "filessession-fake has ended")
		if _, origin, found := strings.Cut(lines.Text(), "control API on "); found {
			control = origin
		}
		if _, origin, found := strings.Cut(lines.Text(), "serving "); found {
			api = strings.TrimSuffix(origin, "/api/rest/v1/")
		}
	}
	go func() {
		for lines.Scan() { // so that the program never waits for its reader
		}
	}()
	return api, control
}

// drive runs a client in another language against the program, over http and
// over https.
func drive(t *testing.T, interpreter, client, certVariable string) {
	t.Parallel()
	path := program(t, interpreter)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	for name, args := range map[string][]string{"http": nil, "https": {"-tls", authority}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api, control := startFake(t, append(args, "-user", `{"username":"alice","password":"secret","totp":"jbsw y3dp ehpk 3pxp"}`)...)
			cmd := exec.CommandContext(t.Context(), path, "testdata/"+client, api, control)
			if name == "https" {
				cmd.Env = append(os.Environ(), certVariable+"="+authority)
			}
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			assert.Equal(t, "ok\n", string(out))
		})
	}
}

func TestPythonDrivesTheFakeServerWithItsStandardLibrary(t *testing.T) {
	drive(t, "python3", "client.py", "SSL_CERT_FILE")
}

func TestNodeDrivesTheFakeServerWithItsStandardLibrary(t *testing.T) {
	drive(t, "node", "client.js", "NODE_EXTRA_CA_CERTS")
}
