package sessiontest

import (
	"context"
	"net/http"
	"net/http/httptest"
)

// userKey is the key of the user's name in the context of a request.
type userKey struct{}

// UserOf returns the name of the user whose live session a request in
// [Server.Handler] carries. For any other request it returns "".
func UserOf(r *http.Request) string {
	username, _ := r.Context().Value(userKey{}).(string)
	return username
}

// handles reports whether Handler answers a request, and returns its user.
func (s *Server) handles(r *http.Request) (username string, ok bool) {
	if s.Handler == nil || r.URL.Path == sessionsPath || isSite(r) {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, refusal := s.access(r)
	if refusal != nil {
		return "", false
	}
	return l.username, true
}

// callHandler lets Handler answer. With a fault it needs the whole answer first.
// Without a fault, Handler may stream.
func (s *Server) callHandler(w http.ResponseWriter, r *http.Request, username string, f *Fault) {
	rw := &recordingWriter{ResponseWriter: w, server: s,
		entry: Request{Method: r.Method, Path: r.URL.Path, User: username, Fault: f != nil}}
	defer rw.record(0) // if Handler panics, there is no answer
	r = r.WithContext(context.WithValue(r.Context(), userKey{}, username))
	if f == nil {
		s.Handler.ServeHTTP(rw, r)
		rw.record(http.StatusOK)
		return
	}
	buffer := httptest.NewRecorder()
	s.Handler.ServeHTTP(buffer, r)
	rep := reply{status: buffer.Code, header: buffer.Result().Header, body: buffer.Body.Bytes()}
	f.spoil(&rep)
	rw.record(rep.status)
	s.finish(w, r, rep, f, false)
}

// recordingWriter records a request before the client can read the answer, so that a
// test that has the answer also finds the request in the journal.
type recordingWriter struct {
	http.ResponseWriter
	server   *Server
	entry    Request
	recorded bool
}

// record records the request, once.
func (w *recordingWriter) record(status int) {
	if w.recorded {
		return
	}
	w.recorded = true
	w.entry.Status = status
	w.server.order.Lock()
	defer w.server.order.Unlock()
	w.server.record(w.entry)
}

func (w *recordingWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.record(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recordingWriter) Write(p []byte) (int, error) {
	w.record(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// Flush is for handlers that ask for an [http.Flusher].
func (w *recordingWriter) Flush() {
	w.record(http.StatusOK)
	http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for [http.ResponseController].
func (w *recordingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
