package sessiontest

import "net/http"

// SetCORS sets whether pages of any origin may use the server in a browser. The default
// is false. The pages may send the headers X-FilesAPI-Auth and Content-Type by the
// methods GET, POST, PATCH, PUT and DELETE, without credentials such as cookies. They
// may read all headers of an answer. Preflights are not in the journal, and no [Fault]
// strikes them.
func (s *Server) SetCORS(on bool) {
	s.set(func(c *settings) { c.cors = on })
}

// allowOrigin sets the headers of CORS in the answer to a page. It answers preflights
// itself, and then reports true.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request) (answered bool) {
	s.mu.Lock()
	on := s.cors
	s.mu.Unlock()
	if !on || r.Header.Get("Origin") == "" {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		h.Set("Access-Control-Expose-Headers", "*")
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, PATCH, PUT, DELETE")
	h.Set("Access-Control-Allow-Headers", "X-FilesAPI-Auth, Content-Type")
	w.WriteHeader(http.StatusNoContent)
	return true
}
