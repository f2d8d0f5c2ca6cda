//go:build unix

package filestore_test

import (
	"os"
	"testing"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/filestore"
	"github.com/filescom/session/storetest"
	"github.com/stretchr/testify/assert"
)

// breakable is a Store that loses its lock as by a tool that removes old files.
type breakable struct {
	*filestore.Store
	t    *testing.T
	path string
}

func (s breakable) BreakLock() { assert.NoError(s.t, os.Remove(s.path+".lock")) }

func TestTheStoreKeepsItsContract(t *testing.T) {
	t.Parallel()
	path := place(t)
	storetest.Run(t, func(t *testing.T) autologin.Store {
		return breakable{filestore.New(path), t, path}
	})
}
