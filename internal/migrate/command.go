package migrate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/images"
)

// options are what the command is told.
type options struct {
	storage                 string
	instance, address       string
	tlsCert, tlsKey, caCert string
	offline                 bool
	namespace               string
	users, passwords        string
	images, imageStore      string
	output                  string
	timeout                 time.Duration
	out, err                io.Writer
}

const about = `Write manifests for what Albatross hosts run and what Mollymawk has stored.

Nothing is changed, neither on a host nor in a cluster. Look through what is
written, and apply it: the operator then adopts what runs, without a restart.
What cannot be declared as it is, is a comment that says why.

The hosts are those of Mollymawk's storage, or one that is named by flags.`

const examples = `  # One host, with the credential that signs its commands.
  %[1]s import --instance rack1 --address rack1.example.org --tls-cert cacert.pem --tls-key ca.key

  # All that Mollymawk knows, into folders; first the users, then their tokens.
  kubectl get users.mollymawk.dev -o json > users.json
  %[1]s import --mollymawk mollymawk.json --users users.json --output first
  kubectl apply -f first/1-users.yaml
  kubectl get users.mollymawk.dev -o json > users.json
  %[1]s import --mollymawk mollymawk.json --users users.json --passwords passwords.txt --output manifests
  kubectl apply -f manifests`

// NewCommand makes the command for the program of that name.
func NewCommand(program string) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "import", Short: "Write manifests for what hosts run and what Mollymawk has stored", Long: about, Example: fmt.Sprintf(examples, program),
		Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.out, o.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return o.run(cmd.Context())
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *options) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.storage, "mollymawk", "", "file with what Mollymawk has stored: its JSON document, or an image of its block device")
	f.StringVar(&o.instance, "instance", "", "name of the AlbatrossInstance for the host of --address")
	f.StringVar(&o.address, "address", "", "host[:port] of an Albatross host; the port is 1025 unless given")
	f.StringVar(&o.tlsCert, "tls-cert", "", "file with the certificate that signs commands for this host, or a chain that was delegated by it (PEM)")
	f.StringVar(&o.tlsKey, "tls-key", "", "file with its private key (PEM)")
	f.StringVar(&o.caCert, "ca-cert", "", "file with the certificate that the host is verified with (PEM; default: that of --tls-cert)")
	f.BoolVar(&o.offline, "offline", false, "ask no host: only users, hosts and tenants")
	f.StringVar(&o.namespace, "namespace", "mollymawk-system", "namespace of the operator, for Secrets")
	f.StringVar(&o.users, "users", "", "file with the Users of the cluster (kubectl get users.mollymawk.dev -o json), to whom tokens are given")
	f.StringVar(&o.passwords, "passwords", "", "make a password for each user of --users and write them to this new file")
	f.StringVar(&o.images, "images", "", "folder for copies of the images that hosts run, named by their SHA-256")
	f.StringVar(&o.imageStore, "image-store", "", "the operator's store, for copies of the images that hosts run: a folder, or the URL of a bucket")
	f.StringVarP(&o.output, "output", "o", "", "new folder for the manifests (default: all to the standard output)")
	f.DurationVar(&o.timeout, "timeout", albatross.DefaultTimeout, "how long an answer of a host may take")
}

func (o *options) validate() error {
	host := []string{o.instance, o.address, o.tlsCert, o.tlsKey}
	given := len(slices.DeleteFunc(host, func(s string) bool { return s == "" }))
	for _, mistake := range []struct {
		made bool
		text string
	}{
		{o.storage == "" && given == 0, "nothing to import: give --mollymawk, or --instance, --address, --tls-cert and --tls-key"},
		{given > 0 && given < 4, "--instance, --address, --tls-cert and --tls-key go together"},
		{o.caCert != "" && given == 0, "--ca-cert goes with --address"},
		{o.users != "" && o.storage == "", "--users goes with --mollymawk"},
		{o.passwords != "" && o.users == "", "--passwords goes with --users: an account is named by the UID of its User"},
		{o.images != "" && o.imageStore != "", "--images does not go with --image-store"},
		{o.offline && o.images+o.imageStore != "", "--offline does not go with --images and --image-store"},
		{o.timeout <= 0, "--timeout must be positive"},
		{len(validation.IsDNS1123Label(o.namespace)) > 0, "--namespace must be the name of a namespace"},
	} {
		if mistake.made {
			return errors.New(mistake.text)
		}
	}
	return nil
}

// run reads everything before it writes anything.
func (o *options) run(ctx context.Context) error {
	if err := o.validate(); err != nil {
		return err
	}
	in := Input{Namespace: o.namespace, Images: map[string]string{}, Now: time.Now()}
	if err := o.read(&in); err != nil {
		return err
	}
	if o.output != "" {
		if err := makeFolder(o.output); err != nil {
			return fmt.Errorf("--output: %w", err)
		}
	}
	unanswered, err := o.askHosts(ctx, &in)
	if err != nil {
		return err
	}
	if err := o.makePasswords(ctx, &in); err != nil {
		return err
	}
	documents := Convert(in)
	if o.output == "" {
		err = write(o.out, documents)
	} else {
		err = writeFolder(o.output, documents)
	}
	if err != nil {
		return fmt.Errorf("write the manifests: %w", err)
	}
	o.report(&in, documents)
	if unanswered > 0 {
		return fmt.Errorf("%d of %d hosts could not be asked, so what they run is missing; the manifests say why", unanswered, len(in.Hosts))
	}
	return nil
}

// read reads all files.
func (o *options) read(in *Input) error {
	if o.storage != "" {
		content, err := readFile(o.storage)
		if err != nil {
			return fmt.Errorf("--mollymawk: %w", err)
		}
		s, err := ParseStorage(content)
		if err != nil {
			return fmt.Errorf("--mollymawk: %s: %w", o.storage, err)
		}
		in.Users, in.Hosts = s.Users, s.hosts()
	}
	if o.address != "" {
		host, err := o.namedHost()
		if err != nil {
			return err
		}
		in.Hosts = append(in.Hosts, host)
	}
	names := map[string]string{}
	for _, host := range in.Hosts {
		name := objectName(host.Name)
		if other, twice := names[name]; twice {
			return fmt.Errorf("two hosts have the names %q and %q, of which one AlbatrossInstance would be made; choose another --instance", other, host.Name)
		}
		names[name] = host.Name
	}
	return o.readUsers(in)
}

// namedHost reads the host that the flags name.
func (o *options) namedHost() (h Host, err error) {
	if !validObjectName(o.instance) {
		return h, fmt.Errorf("--instance: %q cannot be the name of an object", o.instance)
	}
	h = Host{Name: o.instance, Address: strings.Trim(o.address, "[]"), Port: albatross.DefaultPort}
	if address, port, err := net.SplitHostPort(o.address); err == nil {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 || address == "" {
			return h, fmt.Errorf("--address: %q is not host:port", o.address)
		}
		h.Address, h.Port = address, int(number)
	}
	if o.caCert == "" {
		o.caCert = o.tlsCert
	}
	for _, file := range []struct {
		flag, path string
		content    *[]byte
	}{{"--tls-cert", o.tlsCert, &h.Certificate}, {"--tls-key", o.tlsKey, &h.Key}, {"--ca-cert", o.caCert, &h.ServerCA}} {
		if *file.content, err = readFile(file.path); err != nil {
			return h, fmt.Errorf("%s: %w", file.flag, err)
		}
	}
	// A mistake in a file is told before any output; that of a host in the storage is a comment.
	if _, _, err := h.newClient(o.timeout); err != nil {
		return h, fmt.Errorf("--tls-cert, --tls-key and --ca-cert: %w", err)
	}
	return h, nil
}

// readUsers reads the Users of the cluster.
func (o *options) readUsers(in *Input) error {
	if o.users == "" {
		return nil
	}
	content, err := readFile(o.users)
	if err != nil {
		return fmt.Errorf("--users: %w", err)
	}
	var list v1alpha1.UserList
	if err := yaml.Unmarshal(content, &list); err != nil {
		return fmt.Errorf("--users: %s is not a list of Users: %w", o.users, err)
	}
	if !strings.HasSuffix(list.Kind, "List") {
		return fmt.Errorf("--users: %s is not a list of Users", o.users)
	}
	in.Existing = []v1alpha1.User{}
	for _, user := range list.Items {
		if user.Name == "" || user.UID == "" || user.Spec.Email == "" {
			return fmt.Errorf("--users: %s has a User without name, UID or e-mail address; it is to be the output of kubectl get users.mollymawk.dev -o json", o.users)
		}
		in.Existing = append(in.Existing, user)
	}
	return nil
}

// askHosts asks each host. One that does not answer is noted with it and counted.
func (o *options) askHosts(ctx context.Context, in *Input) (unanswered int, err error) {
	if o.offline {
		return 0, nil
	}
	clients := make([]*albatross.Client, len(in.Hosts))
	for i := range in.Hosts {
		h := &in.Hosts[i]
		client, credential, err := h.newClient(o.timeout)
		if err == nil {
			clients[i] = client
			h.Seen, err = look(ctx, client, credential.Path())
		}
		if h.Problem = err; err != nil {
			unanswered++
			fmt.Fprintf(o.err, "%s: %s\n", h.Name, oneLine(err.Error()))
		}
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return unanswered, o.askImages(ctx, in, clients)
}

// askImages has the images of all hosts kept, when somebody wants them.
func (o *options) askImages(ctx context.Context, in *Input, clients []*albatross.Client) error {
	keep, done, err := o.keeper(ctx)
	if err != nil || keep == nil {
		return err
	}
	defer done()
	c := newConverter(*in)
	for i := range in.Hosts {
		if seen := in.Hosts[i].Seen; seen != nil {
			if err := keepImages(ctx, clients[i], seen, c, keep, in.Images); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// keeper gives where images go, or nil when nobody wants them.
func (o *options) keeper(ctx context.Context) (keep keeper, done func(), err error) {
	switch {
	case o.images != "":
		return folder(o.images), func() {}, nil
	case o.imageStore != "":
		opened, err := images.OpenStore(ctx, o.imageStore)
		if err != nil {
			return nil, nil, fmt.Errorf("--image-store: %w", err)
		}
		return store{opened}, func() { _ = opened.Close() }, nil
	}
	return nil, func() {}, nil
}

// makePasswords makes passwords that nobody can guess for users who exist.
func (o *options) makePasswords(ctx context.Context, in *Input) error {
	if o.passwords == "" {
		return nil
	}
	in.PasswordHashes = map[string]string{}
	var lines strings.Builder
	for i := range in.Users {
		user, err := findOwner(in.Existing, &in.Users[i])
		if err != nil || in.PasswordHashes[user.Name] != "" {
			continue
		}
		password := rand.Text()
		if in.PasswordHashes[user.Name], err = accounts.HashPassword(ctx, password); err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s %s\n", user.Spec.Email, password)
	}
	if err := writeNew(o.passwords, []byte(lines.String())); err != nil {
		return fmt.Errorf("--passwords: %w", err)
	}
	return nil
}

// report says how much there is, and what is left to do.
func (o *options) report(in *Input, documents []Document) {
	counts, left, withoutAccount := map[string]int{}, 0, 0
	for i := range documents {
		if !documents[i].Applicable() {
			left++
			continue
		}
		counts[documents[i].Object.GetObjectKind().GroupVersionKind().Kind]++
		switch documents[i].Object.(type) {
		case *v1alpha1.User:
			withoutAccount++
		case *corev1.Secret:
			withoutAccount--
		}
	}
	withoutAccount += len(in.Hosts) // each has a Secret too
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(o.err, "%s: %d\n", kind, counts[kind])
	}
	if left > 0 {
		fmt.Fprintf(o.err, "not taken over: %d; look for NOT TAKEN OVER in the manifests\n", left)
	}
	if withoutAccount > 0 {
		fmt.Fprintf(o.err, "users whose tokens are not in it: %d; apply the Users, and import again with --users\n", withoutAccount)
	}
	if len(in.Users) > 0 && o.passwords == "" {
		fmt.Fprintln(o.err, "no user has a password: Mollymawk's hashes cannot be taken over; --passwords makes new ones")
	}
}
