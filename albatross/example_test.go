package albatross_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
)

// A unikernel's life on a host, here a simulated one.
func ExampleClient() {
	host, err := albatrosstest.New(albatrosstest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer host.Close()
	credentials := host.Credentials()

	credential, err := albatross.ParseCredential(credentials.Cert, credentials.Key)
	if err != nil {
		log.Fatal(err)
	}
	serverCAs, err := albatross.ParseServerCA(credentials.ServerCA)
	if err != nil {
		log.Fatal(err)
	}
	client, err := albatross.New(albatross.Options{Addr: host.Addr(), Credential: credential, ServerCAs: serverCAs})
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	alice := albatross.Scope{{Label: "alice", Policy: albatross.Policy{Unikernels: 2, CPUIDs: []int64{0}, Memory: 64}}}
	image, err := solo5.Build(solo5.Image{}, []byte("a unikernel without devices"))
	if err != nil {
		log.Fatal(err)
	}
	config := albatross.Config{Arguments: albatross.Arguments{CPUIDs: []int64{0}, Memory: 32, NumCPUs: 1, Argv: []string{"--hello=world"}}}
	text, err := client.Create(ctx, alice, "web", config, albatross.Image{Reader: bytes.NewReader(image), Size: int64(len(image))})
	fmt.Println(text, err)

	unikernels, err := client.Unikernels(ctx, alice)
	if err != nil {
		log.Fatal(err)
	}
	for _, u := range unikernels {
		fmt.Println(u.Name, u.Info.Memory, "MiB", u.Info.Argv)
	}

	config.Memory = 500
	_, err = client.ForceCreate(ctx, alice, "web", config, albatross.Image{Reader: bytes.NewReader(image), Size: int64(len(image))})
	fmt.Println(err)

	text, err = client.Destroy(ctx, alice, "web")
	fmt.Println(text, err)
	// Output:
	// created unikernel <nil>
	// alice:web 32 MiB [--hello=world]
	// unikernel force create alice:web: maximum allowed memory (64, used 0) would be exceeded (requesting 500)
	// destroyed unikernel <nil>
}
