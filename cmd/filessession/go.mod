module github.com/filescom/session/cmd/filessession

go 1.25.0

require (
	github.com/creack/pty v1.1.24
	github.com/filescom/session v0.0.0
	github.com/filescom/session/filestore v0.0.0
	github.com/filescom/session/keyringstore v0.0.0
	github.com/pquerna/otp v1.5.0
	github.com/rogpeppe/go-internal v1.14.1
	github.com/spf13/cobra v1.10.2
	github.com/spf13/pflag v1.0.9
	github.com/stretchr/testify v1.12.1
	golang.org/x/sys v0.47.0
	golang.org/x/term v0.45.0
)

require (
	github.com/boombuler/barcode v1.0.1-0.20190219062509-6c824513bacc // indirect
	github.com/danieljoos/wincred v1.2.3 // indirect
	github.com/go-resty/resty/v2 v2.17.2 // indirect
	github.com/godbus/dbus/v5 v5.2.2 // indirect
	github.com/gofrs/flock v0.13.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/zalando/go-keyring v0.2.8 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/tools v0.26.0 // indirect
)

replace (
	github.com/filescom/session => ../..
	github.com/filescom/session/filestore => ../../filestore
	github.com/filescom/session/keyringstore => ../../keyringstore
)
