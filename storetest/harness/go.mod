module github.com/filescom/session/storetest/harness

go 1.25.0

require (
	github.com/filescom/session v0.0.0
	github.com/filescom/session/filestore v0.0.0
	github.com/redis/go-redis/v9 v9.22.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.uber.org/atomic v1.11.0 // indirect
)

require (
	github.com/filescom/session/redisstore v0.0.0
	github.com/go-resty/resty/v2 v2.17.2 // indirect
	github.com/gofrs/flock v0.13.0 // indirect
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace (
	github.com/filescom/session => ../../
	github.com/filescom/session/filestore => ../../filestore
)

replace github.com/filescom/session/redisstore => ../../redisstore
