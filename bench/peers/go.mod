module github.com/portolan/portolan/bench/peers

go 1.26.8

replace github.com/portolan/portolan => ../..

require (
	github.com/netsampler/goflow2/v2 v2.2.6
	github.com/portolan/portolan v0.0.0
)

require (
	github.com/libp2p/go-reuseport v0.4.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)
