package main

import (
	"net"
	"os"
	"strings"

	"github.com/filescom/session/sessiontest"
)

// origins returns the origins under which clients reach the server. If it listens on
// all addresses, that is one for each address of this machine.
func origins(srv *sessiontest.Server, addr string) []string {
	all := []string{srv.URL}
	if !unspecified(addr) {
		return all
	}
	scheme, host, _ := strings.Cut(srv.URL, "://")
	_, port, _ := net.SplitHostPort(host)
	for _, ip := range machineIPs() {
		all = append(all, scheme+"://"+net.JoinHostPort(ip, port))
	}
	return all
}

// unspecified reports whether a listener on addr listens on all addresses.
func unspecified(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	return host == "" || net.ParseIP(host).IsUnspecified()
}

// machineIPs returns the addresses of this machine that others may reach.
func machineIPs() []string {
	addrs, _ := net.InterfaceAddrs()
	var ips []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			ips = append(ips, n.IP.String())
		}
	}
	return ips
}

// certificateNames returns the hosts that the certificate is for.
func certificateNames(c config) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil && name != "" {
		names = append(names, name)
	}
	if unspecified(c.addr) {
		names = append(names, machineIPs()...)
	} else if host, _, err := net.SplitHostPort(c.addr); err == nil {
		names = append(names, host)
	}
	return append(names, c.names...)
}

// reachable returns an address under which this machine reaches a listener.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return net.JoinHostPort("localhost", port)
}
