module github.com/filescom/session/keyringstore

go 1.25.0

require (
	github.com/filescom/session v0.0.0
	github.com/filescom/session/filestore v0.0.0
	github.com/godbus/dbus/v5 v5.2.2
	github.com/stretchr/testify v1.12.1
	github.com/zalando/go-keyring v0.2.8
	go.uber.org/goleak v1.3.0
)

require (
	github.com/danieljoos/wincred v1.2.3 // indirect
	github.com/go-resty/resty/v2 v2.17.2 // indirect
	github.com/gofrs/flock v0.13.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace (
	github.com/filescom/session => ../
	github.com/filescom/session/filestore => ../filestore
)
