module github.com/filescom/session/bench

go 1.26.8

require (
	github.com/Files-com/files-sdk-go/v3 v3.3.308
	github.com/filescom/session v0.0.0
	golang.org/x/oauth2 v0.37.0
)

require github.com/gofrs/flock v0.13.0 // indirect

require (
	github.com/appscode/go-querystring v0.0.0-20170504095604-0126cfb3f1dc // indirect
	github.com/filescom/session/filestore v0.0.0
	github.com/go-resty/resty/v2 v2.17.2 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.7 // indirect
	github.com/lpar/calendar v0.2.0 // indirect
	github.com/quic-go/qpack v0.6.0 // indirect
	github.com/quic-go/quic-go v0.60.0 // indirect
	github.com/samber/lo v1.50.0 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.56.0 // indirect
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.41.0 // indirect
	moul.io/http2curl/v2 v2.3.0 // indirect
)

replace github.com/filescom/session => ../

replace github.com/filescom/session/filestore => ../filestore
