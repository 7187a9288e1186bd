package migrate_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/migrate"
	"mollymawk.dev/operator/internal/testenv"
)

var digest = slices.Repeat([]byte{0xab}, 32)

// plain is a unikernel that can be declared as it is.
func plain() albatross.Info {
	return albatross.Info{CPUIDs: []int64{0}, Memory: 32, NumCPUs: 1, Digest: digest}
}

func at(name string) albatross.Name {
	n, err := albatross.ParseName(name)
	if err != nil {
		panic(err)
	}
	return n
}

// rack is a host with unikernels, blocks and policies of the paths.
func rack(name string, policies ...string) migrate.Host {
	h := migrate.Host{
		Name: name, Address: "192.0.2.7", Port: 1025, Certificate: []byte("certificate"), Key: []byte("key"), ServerCA: []byte("certificate"),
		Seen: &migrate.Seen{Policies: map[string]albatross.Policy{}},
	}
	for _, path := range policies {
		h.Seen.Policies[path] = policy()
	}
	return h
}

func runs(h migrate.Host, name string, info albatross.Info) migrate.Host {
	h.Seen.Unikernels = append(h.Seen.Unikernels, albatross.Unikernel{Name: at(name), Info: info})
	return h
}

func converted(users []migrate.StoredUser, hosts ...migrate.Host) []migrate.Document {
	return migrate.Convert(migrate.Input{Users: users, Hosts: hosts, Namespace: "mollymawk-system", Now: time.Now()})
}

// find gives the document of a kind and name.
func find(t *testing.T, all []migrate.Document, kind, name string) migrate.Document {
	t.Helper()
	for _, d := range all {
		if d.Object.GetObjectKind().GroupVersionKind().Kind == kind && d.Object.GetName() == name {
			return d
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return migrate.Document{}
}

func text(t *testing.T, d migrate.Document) string {
	t.Helper()
	var b strings.Builder
	if err := d.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestWhatCannotBeDeclared has a comment for each thing that an object cannot say,
// and no object.
func TestWhatCannotBeDeclared(t *testing.T) {
	bridge := func(device, host string, mac albatross.MAC) func(*albatross.Info) {
		return func(i *albatross.Info) {
			i.Bridges = []albatross.BridgeInfo{{Device: device, HostDevice: host, MAC: mac}}
		}
	}
	block := func(device, host string, sector int64) func(*albatross.Info) {
		return func(i *albatross.Info) {
			i.Blocks = []albatross.BlockInfo{{Device: device, HostDevice: host, SectorSize: sector}}
		}
	}
	good := albatross.MAC{2, 0, 0, 0, 0, 1}
	for want, change := range map[string]func(*albatross.Info){
		"it runs with 0 MiB":          func(i *albatross.Info) { i.Memory = 0 },
		"it runs with 2097152 MiB":    func(i *albatross.Info) { i.Memory = 2 << 20 },
		"it runs on the CPUs []":      func(i *albatross.Info) { i.CPUIDs = nil },
		"it runs on the CPUs [5000]":  func(i *albatross.Info) { i.CPUIDs = []int64{5000} },
		"it runs on the CPUs [-1]":    func(i *albatross.Info) { i.CPUIDs = []int64{-1} },
		"its startup priority is 0":   func(i *albatross.Info) { i.Startup = new(int64(0)) },
		"its startup priority is 101": func(i *albatross.Info) { i.Startup = new(int64(101)) },
		"it is restarted after the exit codes": func(i *albatross.Info) {
			i.FailBehaviour = albatross.FailBehaviour{Restart: true, ExitCodes: []int64{256}}
		},
		"it has 129 arguments":                     func(i *albatross.Info) { i.Argv = slices.Repeat([]string{"x"}, 129) },
		"argument 2 is not text":                   func(i *albatross.Info) { i.Argv = []string{"x", strings.Repeat("x", 8193)} },
		"argument 1 is not text":                   func(i *albatross.Info) { i.Argv = []string{"a\x00b"} },
		"it has 2 CPUs, and a Solo5 unikernel":     func(i *albatross.Info) { i.NumCPUs = 2 },
		"the host tells no SHA-256":                func(i *albatross.Info) { i.Digest = []byte{1} },
		"it has a boot partition":                  func(i *albatross.Info) { i.LinuxBootPartition = new("gpt2") },
		`a network device is called "net-0"`:       bridge("net-0", "service", good),
		`is connected to "br ext"`:                 bridge("service", "br ext", good),
		`has the address 01:00:00:00:00:01`:        bridge("service", "service", albatross.MAC{1, 0, 0, 0, 0, 1}),
		`a block device is called "a_b"`:           block("a_b", "data", 512),
		`the block device "disk" is "../secret"`:   block("disk", "../secret", 512),
		`has sectors of 513 bytes`:                 block("disk", "data", 513),
		`has sectors of 131072 bytes`:              block("disk", "data", 131072),
		"it has 65 CPUs, and 1 to 64":              func(i *albatross.Info) { i.Type, i.NumCPUs = albatross.BHyve, 65 },
		"it has no block device 0":                 func(i *albatross.Info) { i.Type = albatross.BHyve },
		`it boots from "a b"`:                      func(i *albatross.Info) { i.Type, i.LinuxBootPartition = albatross.BHyve, new("a b") },
		"its block devices are not called 0, 1":    func(i *albatross.Info) { i.Type = albatross.BHyve; block("1", "/dev/vm", 512)(i) },
		`the block device "0" is "/dev/../secret"`: func(i *albatross.Info) { i.Type = albatross.BHyve; block("0", "/dev/../secret", 512)(i) },
		`two of its block devices are "data"`: func(i *albatross.Info) {
			i.Blocks = []albatross.BlockInfo{{Device: "a", HostDevice: "data", SectorSize: 512}, {Device: "b", HostDevice: "data", SectorSize: 512}}
		},
		"it has 33 network devices": func(i *albatross.Info) {
			for n := range 33 {
				i.Bridges = append(i.Bridges, albatross.BridgeInfo{Device: fmt.Sprint("net", n), HostDevice: "service", MAC: albatross.MAC{2, 0, 0, 0, 0, byte(n)}})
			}
		},
	} {
		info := plain()
		change(&info)
		d := find(t, converted(nil, runs(rack("rack1", "alice"), "alice:web", info)), "Unikernel", "web")
		if d.Applicable() || !strings.Contains(strings.Join(d.Problems, "\n"), want) {
			t.Errorf("%s: problems %q", want, d.Problems)
		}
		if objects := objectsIn(t, text(t, d)); len(objects) > 0 {
			t.Errorf("%s: it is an object", want)
		}
	}
	if d := find(t, converted(nil, runs(rack("rack1", "alice"), "alice:web", plain())), "Unikernel", "web"); !d.Applicable() {
		t.Errorf("nothing can be declared: %q", d.Problems)
	}
}

// TestPlaces has names that are none, and names that meet.
func TestPlaces(t *testing.T) {
	first, second := rack("rack1"), rack("rack2")
	for _, path := range []string{"alice", "default", "kube-system", "mollymawk-system", "a.b", "ends-", "a:b", "a", ".."} {
		first.Seen.Policies[path] = policy()
		first = runs(first, path+":web", plain())
	}
	unicode := converted(nil, first, runs(second, "alice:web", plain()))
	namespaces, applicable := map[string]bool{}, 0
	for _, d := range unicode {
		if _, is := d.Object.(*v1alpha1.Unikernel); !is || !d.Applicable() {
			continue
		}
		applicable++
		namespaces[d.Object.GetNamespace()] = true
	}
	if applicable != 9 || len(namespaces) != 9 || !namespaces["alice"] || !namespaces["a"] {
		t.Errorf("%d in %v", applicable, namespaces)
	}
	for _, taken := range []string{"default", "kube-system", "mollymawk-system"} {
		if namespaces[taken] {
			t.Errorf("a tenant gets the namespace %s", taken)
		}
	}
	for namespace := range namespaces {
		if strings.HasPrefix(namespace, "kube-") {
			t.Errorf("a tenant gets the namespace %s", namespace)
		}
	}
}

// TestNobodyTakesADerivedNamespace has somebody called as the namespace that is made
// for another.
func TestNobodyTakesADerivedNamespace(t *testing.T) {
	h := runs(rack("rack1", "bob.smith"), "bob.smith:web", plain())
	namespace := find(t, converted(nil, h), "Unikernel", "web").Object.GetNamespace()
	h = runs(rack("rack1", "bob.smith", namespace), namespace+":own", plain())
	h = runs(h, "bob.smith:web", plain())
	all := converted(nil, h)
	if d := find(t, all, "Unikernel", "web"); d.Applicable() || !strings.Contains(d.Problems[0], "would have the namespace of the path") {
		t.Errorf("%q", d.Problems)
	}
	if d := find(t, all, "Unikernel", "own"); !d.Applicable() {
		t.Errorf("%q", d.Problems)
	}
	instance := find(t, all, "AlbatrossInstance", "rack1").Object.(*v1alpha1.AlbatrossInstance)
	if len(instance.Spec.Tenants) != 1 || instance.Spec.Tenants[0].Path != "" {
		t.Errorf("%v", instance.Spec.Tenants)
	}
}

// TestNamesakes leaves a name to what can be declared.
func TestNamesakes(t *testing.T) {
	odd := plain()
	odd.Startup = new(int64(0))
	all := converted(nil, runs(rack("rack1", "alice"), "alice:web", odd), runs(rack("rack2", "alice"), "alice:web", plain()), runs(rack("rack3", "alice"), "alice:web", plain()))
	var on []string
	for _, d := range all {
		if uk, is := d.Object.(*v1alpha1.Unikernel); is && d.Applicable() {
			on = append(on, uk.Spec.InstanceRef.Name)
		}
	}
	if !slices.Equal(on, []string{"rack2"}) {
		t.Errorf("web is declared on %v", on)
	}
}

func TestTenants(t *testing.T) {
	users := []migrate.StoredUser{{Name: "dora", Email: "dora@example.org"}, {Name: "outer", Email: "outer@example.org"}}
	h := rack("rack1", "alice", "group", "group:carol", "outer", "outer:inner", "zero", "dora")
	h.Seen.Policies["zero"] = albatross.Policy{}
	h = runs(h, "bare:web", plain())
	h = runs(h, "group:carol:web", plain())
	d := find(t, converted(users, h), "AlbatrossInstance", "rack1")
	var paths []string
	with := 0
	for _, tenant := range d.Object.(*v1alpha1.AlbatrossInstance).Spec.Tenants {
		path := string(tenant.Path)
		if path == "" {
			path = tenant.Namespace
		}
		if tenant.Policy != nil {
			with++
		}
		paths = append(paths, path)
	}
	// The path group limits only what is below it.
	if want := []string{"alice", "bare", "dora", "group:carol", "outer", "outer:inner", "zero"}; !slices.Equal(paths, want) || with != 5 {
		t.Errorf("%v, %d with a policy", paths, with)
	}
	notes := strings.Join(d.Notes, "\n")
	for _, want := range []string{"The path bare has no policy", "uses 1 unikernels, 32 MiB of memory", "The policy of zero is not declared here and stays in force: it allows 0 unikernels"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note says: %s\n%s", want, notes)
		}
	}
}

func TestPoliciesThatCannotBeDeclared(t *testing.T) {
	for want, change := range map[string]func(*albatross.Policy){
		"0 unikernels":            func(p *albatross.Policy) { p.Unikernels = 0 },
		"unikernels":              func(p *albatross.Policy) { p.Unikernels = albatross.Unlimited },
		"16 MiB of memory":        func(p *albatross.Policy) { p.Memory = 16 },
		"the CPUs []":             func(p *albatross.Policy) { p.CPUIDs = nil },
		"0 MiB of storage":        func(p *albatross.Policy) { p.Block = new(int64(0)) },
		`the bridges ["a bridge"`: func(p *albatross.Policy) { p.Bridges = []string{"a bridge"} },
	} {
		h := rack("rack1", "alice")
		p := policy()
		change(&p)
		h.Seen.Policies["alice"] = p
		d := find(t, converted(nil, h), "AlbatrossInstance", "rack1")
		if d.Object.(*v1alpha1.AlbatrossInstance).Spec.Tenants[0].Policy != nil || !strings.Contains(strings.Join(d.Notes, "\n"), want) {
			t.Errorf("%s: %q", want, d.Notes)
		}
	}
}

// TestHostsThatDoNotTell still makes an instance, which says what is missing.
func TestHostsThatDoNotTell(t *testing.T) {
	silent, offline, delegated := rack("silent"), rack("offline"), rack("delegated", "carol")
	silent.Seen, silent.Problem = nil, errors.New("connection refused")
	offline.Seen = nil
	delegated.Seen.Path = albatross.Path{"customers"}
	bad := rack("bad")
	bad.Address, bad.Port = "no host", 70000
	all := converted([]migrate.StoredUser{{Name: "alice", Email: "alice@example.org"}}, silent, offline, delegated, bad)
	for name, want := range map[string]string{
		"offline": "The host was not asked", "delegated": "The credential is for the path customers",
	} {
		d := find(t, all, "AlbatrossInstance", name)
		if !strings.Contains(strings.Join(d.Notes, "\n"), want) || !d.Applicable() {
			t.Errorf("%s: %q, %q", name, d.Notes, d.Problems)
		}
	}
	// To apply it over one that is complete would send tenants away.
	if d := find(t, all, "AlbatrossInstance", "silent"); d.Applicable() || !strings.Contains(d.Problems[0], "could not be asked (connection refused)") {
		t.Errorf("%q", d.Problems)
	}
	if tenants := find(t, all, "AlbatrossInstance", "offline").Object.(*v1alpha1.AlbatrossInstance).Spec.Tenants; len(tenants) != 1 || tenants[0].Policy != nil {
		t.Errorf("%v", tenants)
	}
	if d := find(t, all, "AlbatrossInstance", "bad"); len(d.Problems) != 2 {
		t.Errorf("%q", d.Problems)
	}
}

func TestUsers(t *testing.T) {
	users := []migrate.StoredUser{
		{Name: "alice", Email: "Alice <alice@example.org>", Active: true},
		{Name: "alice", Email: "again@example.org"},
		{Name: "bob.smith", Email: "bob@example.org", SuperUser: true},
		{Name: "carl", Email: "ALICE@example.org"},
		{Name: "dan", Email: "not an address"},
		{Name: "ends-", Email: "ends@example.org"},
		{Name: "quoted", Email: `"a b"@example.org`},
	}
	all := converted(users)
	var names []string
	for _, d := range all {
		if d.Applicable() {
			names = append(names, d.Object.GetName())
		}
	}
	if len(names) != 3 || names[0] != "alice" || names[1] != "bob.smith" || !strings.HasPrefix(names[2], "ends-") {
		t.Errorf("%v", names)
	}
	alice := find(t, all, "User", "alice").Object.(*v1alpha1.User)
	if alice.Spec.DisplayName != "Alice" || alice.Spec.Email != "alice@example.org" || !alice.IsActive() || alice.Spec.SuperUser {
		t.Errorf("%+v", alice.Spec)
	}
	bob := find(t, all, "User", "bob.smith").Object.(*v1alpha1.User)
	if !strings.HasPrefix(bob.Spec.Namespace, "bob-smith-") || !bob.Spec.SuperUser || bob.IsActive() {
		t.Errorf("%+v", bob.Spec)
	}
}

const token = `{"value":"%s","name":"CI","expires_in":%d,"created_at":"%s","last_access":"%s","usage_count":3}`

// TestAccounts gives tokens to the User that is meant, and to nobody else.
func TestAccounts(t *testing.T) {
	now := time.Now()
	one := func(value string, seconds int) string {
		created := now.Add(-time.Minute).UTC().Format("2006-01-02 15:04:05") + "-00:00"
		return fmt.Sprintf(token, value, seconds, created, created)
	}
	good, shared := "3cb6bc72-a52d-4f4f-969c-c85465875774", "aaaaaaaa-a52d-4f4f-969c-c85465875774"
	parsed, err := migrate.ParseStorage([]byte(`{"version":10,"users":[
		{"name":"alice","email":"alice@example.org","tokens":[` + one(good, 3600) + `,` + one(shared, 3600) + `,` + one("NOT-A-UUID", 3600) + `,` + one("bbbbbbbb-a52d-4f4f-969c-c85465875774", 10) + `]},
		{"name":"bob","email":"bob@example.org","tokens":[` + one(shared, 3600) + `]},
		{"name":"carl","email":"carl@example.org","tokens":[` + one("cccccccc-a52d-4f4f-969c-c85465875774", 3600) + `]}],"configuration":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	existing := func(name, email, reason string) v1alpha1.User {
		u := v1alpha1.User{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-of-" + name)}, Spec: v1alpha1.UserSpec{Email: v1alpha1.Email(email)}}
		u.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionNamespaceReady, Reason: reason}}
		return u
	}
	in := migrate.Input{
		Users: parsed.Users, Namespace: "system", Now: now,
		Existing: []v1alpha1.User{
			existing("alice", "Alice@example.org", v1alpha1.ReasonSucceeded), existing("bob", "bob@example.org", v1alpha1.ReasonNamespaceMissing),
			existing("carl", "somebody.else@example.org", v1alpha1.ReasonSucceeded),
		},
		PasswordHashes: map[string]string{"alice": "hash"},
	}
	all := migrate.Convert(in)
	alice := find(t, all, "Secret", "mollymawk-account-uid-of-alice")
	secret := alice.Object.(*corev1.Secret)
	if secret.Namespace != "system" || string(secret.Data["password"]) != "hash" || len(secret.OwnerReferences) != 1 {
		t.Errorf("%v", secret.ObjectMeta)
	}
	content := fmt.Sprintf("%s", secret.Data)
	if !strings.Contains(content, good) || !strings.Contains(content, shared) || strings.Contains(content, "NOT-A-UUID") || strings.Contains(content, "bbbbbbbb") {
		t.Errorf("%s", content)
	}
	notes := strings.Join(alice.Notes, "\n")
	if !strings.Contains(notes, "no UUID") || !strings.Contains(notes, "expired") || strings.Contains(notes, "no password") || strings.Contains(notes, good) {
		t.Errorf("%s", notes)
	}
	bob := find(t, all, "Secret", "mollymawk-account-uid-of-bob")
	if strings.Contains(fmt.Sprintf("%s", bob.Object.(*corev1.Secret).Data), shared) || !strings.Contains(strings.Join(bob.Notes, "\n"), "tokens whose values an earlier user has (1)") {
		t.Errorf("two users have one token: %q", bob.Notes)
	}
	if d := find(t, all, "User", "carl"); d.Applicable() || !strings.Contains(strings.Join(d.Problems, "\n"), "another e-mail address") {
		t.Errorf("the User of somebody else is changed: %q", d.Problems)
	}
	for _, d := range all {
		if strings.Contains(d.Object.GetName(), "carl") && d.Object.GetObjectKind().GroupVersionKind().Kind == "Secret" {
			t.Error("somebody else gets the tokens of carl")
		}
	}
	namespace := find(t, all, "Namespace", "bob").Object
	if namespace.GetAnnotations()[v1alpha1.AnnotationUserUID] != "uid-of-bob" {
		t.Errorf("%v", namespace)
	}

	in.Existing[0] = existing("alice", "alice@example.org", v1alpha1.ReasonNamespaceTaken)
	for _, path := range []string{"alice", "carl", "dora"} {
		in.Existing = append(in.Existing, existing("dora", "dora@example.org", v1alpha1.ReasonSucceeded))
		in.Hosts = []migrate.Host{runs(rack("rack1", path), path+":web", plain())}
		if d := find(t, migrate.Convert(in), "Unikernel", "web"); d.Applicable() || !strings.Contains(d.Problems[0], "belongs to somebody else") {
			t.Errorf("%s: it goes into the namespace of somebody else: %q", path, d.Problems)
		}
	}
}

// TestOrder gives the same output whatever the order of what was read.
func TestOrder(t *testing.T) {
	users := []migrate.StoredUser{{Name: "bob", Email: "bob@example.org"}, {Name: "alice", Email: "alice@example.org"}}
	seen := func(names ...string) migrate.Host {
		h := rack("rack1", "alice", "bob")
		for _, name := range names {
			h = runs(h, name, plain())
			h.Seen.Blocks = append(h.Seen.Blocks, albatross.Block{Name: at(name), Size: 1})
		}
		return h
	}
	write := func(all []migrate.Document) (text string) {
		var b strings.Builder
		for _, d := range all {
			if err := d.Write(&b); err != nil {
				t.Fatal(err)
			}
		}
		return b.String()
	}
	first := write(converted(users, seen("alice:a", "alice:b", "bob:a"), rack("rack0", "alice")))
	slices.Reverse(users)
	second := write(converted(users, rack("rack0", "alice"), seen("bob:a", "alice:b", "alice:a")))
	if first != second {
		t.Errorf("%s\nand then\n%s", first, second)
	}
}

// TestEverythingIsAccepted has a real API server check what comes of random hosts.
func TestEverythingIsAccepted(t *testing.T) {
	c := newClient(t)
	namespace := testenv.Namespace(t, c)
	random := rand.New(rand.NewPCG(1, 2))
	applicable, left := 0, 0
	for range 40 {
		h := randomHost(random)
		users := []migrate.StoredUser{{Name: pick(random, labels), Email: pick(random, texts) + "@example.org", Active: random.IntN(2) == 0}}
		for _, d := range converted(users, h) {
			if !d.Applicable() {
				left++
				continue
			}
			for _, o := range objectsIn(t, text(t, d)) {
				applicable++
				accept(t, c, namespace, o)
			}
		}
	}
	if applicable < 100 || left < 100 {
		t.Errorf("%d objects, and %d that are none", applicable, left)
	}
}

func accept(t *testing.T, c client.Client, namespace string, o *unstructured.Unstructured) {
	t.Helper()
	if o.GetNamespace() != "" {
		o.SetNamespace(namespace)
	}
	if err := c.Create(t.Context(), o, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
		t.Errorf("%v\n%v", err, o.Object)
	}
}

var (
	labels = []string{"web", "a", "0", "a.b", "ends-", "..", "kube-system", "x" + strings.Repeat("y", 62), "data", ".hidden", "a-.b"}
	texts  = []string{"service", "0", "1", "net0", "", "a b", "a_b", "x" + strings.Repeat("y", 62), strings.Repeat("z", 64), "/dev/vm", "..", "\u2028x", "data", "-x"}
	counts = []int64{-1, 0, 1, 2, 16, 17, 50, 64, 100, 255, 512, 4096, 65536, 1 << 20, 1<<20 + 1, 64 << 20, 1 << 40}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// some gives up to three of a kind, mostly what is common.
func some[T any](r *rand.Rand, one func() T) (all []T) {
	for range r.IntN(4) {
		all = append(all, one())
	}
	return all
}

func randomHost(r *rand.Rand) migrate.Host {
	h := rack(pick(r, labels))
	number := func(usual int64) int64 {
		if r.IntN(8) > 0 {
			return usual
		}
		return pick(r, counts)
	}
	name := func(usual string) string {
		if r.IntN(8) > 0 {
			return usual
		}
		return pick(r, texts)
	}
	for range 12 {
		path := albatross.Path(some(r, func() string { return pick(r, labels) }))
		h.Seen.Policies[path.String()] = albatross.Policy{
			Unikernels: number(10), CPUIDs: some(r, func() int64 { return number(1) }), Memory: number(64), Bridges: some(r, func() string { return name("service") }),
		}
		if path.IsRoot() {
			delete(h.Seen.Policies, "")
		}
		h.Seen.Blocks = append(h.Seen.Blocks, albatross.Block{Name: albatross.Name{Path: path, Label: pick(r, labels)}, Size: number(4)})
		info := albatross.Info{
			CPUIDs: append(some(r, func() int64 { return number(1) }), 0), Memory: number(32), NumCPUs: number(1), Digest: digest,
			Argv:          some(r, func() string { return pick(r, texts) }),
			FailBehaviour: albatross.FailBehaviour{Restart: r.IntN(2) == 0},
			Bridges: some(r, func() albatross.BridgeInfo {
				return albatross.BridgeInfo{Device: name("service"), HostDevice: name("service"), MAC: albatross.MAC{byte(r.IntN(4)), byte(r.IntN(256))}}
			}),
			Blocks: some(r, func() albatross.BlockInfo {
				return albatross.BlockInfo{Device: name("0"), HostDevice: name("data"), SectorSize: number(512)}
			}),
		}
		if info.FailBehaviour.Restart {
			info.FailBehaviour.ExitCodes = some(r, func() int64 { return number(3) })
		}
		if r.IntN(4) == 0 {
			info.Type, info.LinuxBootPartition = albatross.BHyve, new(name("gpt2"))
		}
		if r.IntN(2) == 0 {
			info.Startup = new(number(40))
		}
		h.Seen.Unikernels = append(h.Seen.Unikernels, albatross.Unikernel{Name: albatross.Name{Path: path, Label: pick(r, labels)}, Info: info})
	}
	return h
}

// TestDeclared has every field of what runs in the object.
func TestDeclared(t *testing.T) {
	name := at("alice:web")
	info := albatross.Info{
		FailBehaviour: albatross.FailBehaviour{Restart: true, ExitCodes: []int64{3, 2}}, Startup: new(int64(20)), CPUIDs: []int64{1, 0}, Memory: 64, NumCPUs: 1,
		Digest: digest, Argv: []string{"--b", "--a"},
		Bridges: []albatross.BridgeInfo{
			{Device: "z", HostDevice: "service", MAC: albatross.MAC{2, 0, 0, 0, 0, 7}}, {Device: "a", HostDevice: "management", MAC: albatross.DeriveMAC(name, "a")},
		},
		Blocks: []albatross.BlockInfo{{Device: "own", HostDevice: "data", SectorSize: 4096, Size: 2}, {Device: "b", HostDevice: "unlisted", SectorSize: 512, Size: 2}},
	}
	machine := albatross.Info{
		Type: albatross.BHyve, CPUIDs: []int64{0}, Memory: 512, NumCPUs: 2, LinuxBootPartition: new("gpt2"), Startup: new(int64(50)),
		Blocks: []albatross.BlockInfo{{Device: "0", HostDevice: "/dev/zvol/vm0", SectorSize: 512}},
	}
	h := runs(runs(rack("rack1", "alice"), "alice:web", info), "alice:machine", machine)
	h.Seen.Blocks = []albatross.Block{{Name: at("alice:data"), Size: 2}}
	all := converted(nil, h)
	for name, want := range map[string]v1alpha1.UnikernelSpec{
		"web": {
			InstanceRef: v1alpha1.InstanceReference{Name: "rack1"}, Memory: new(v1alpha1.FromMiB(64)), CPUIDs: []v1alpha1.CPUID{0, 1}, Arguments: []string{"--b", "--a"},
			Image: &v1alpha1.ImageSource{ContentSource: v1alpha1.ContentSource{Stored: &v1alpha1.StoredSource{SHA256: v1alpha1.SHA256(strings.Repeat("ab", 32))}}},
			NetworkInterfaces: []v1alpha1.NetworkInterface{
				{Name: "a", Bridge: "management"}, {Name: "z", Bridge: "service", MAC: "02:00:00:00:00:07"},
			},
			BlockDevices: []v1alpha1.BlockDevice{
				{Name: "b", HostDevice: "unlisted"}, {Name: "own", VolumeRef: &v1alpha1.VolumeReference{Name: "data"}, SectorSize: 4096},
			},
			RestartPolicy:   &v1alpha1.RestartPolicy{Type: v1alpha1.RestartOnFailure, ExitCodes: []v1alpha1.ExitCode{2, 3}},
			StartupPriority: 20, DeletionPolicy: v1alpha1.DeletionPolicyOrphan,
		},
		"machine": {
			InstanceRef: v1alpha1.InstanceReference{Name: "rack1"}, Type: v1alpha1.UnikernelTypeBhyve, Memory: new(v1alpha1.FromMiB(512)), CPUIDs: []v1alpha1.CPUID{0}, CPUs: 2,
			BlockDevices: []v1alpha1.BlockDevice{{Name: "0", HostDevice: "/dev/zvol/vm0"}}, LinuxBootPartition: "gpt2",
			RestartPolicy: &v1alpha1.RestartPolicy{Type: v1alpha1.RestartNever}, DeletionPolicy: v1alpha1.DeletionPolicyOrphan,
		},
	} {
		d := find(t, all, "Unikernel", name)
		if got := d.Object.(*v1alpha1.Unikernel).Spec; !d.Applicable() || !equality.Semantic.DeepEqual(got, want) {
			t.Errorf("%s: %+v\nnot %+v\n%q", name, got, want, d.Problems)
		}
	}
	volume := find(t, all, "Volume", "data").Object.(*v1alpha1.Volume)
	if volume.Namespace != "alice" || v1alpha1.MiB(volume.Spec.Size) != 2 || volume.Spec.DeletionPolicy != v1alpha1.DeletionPolicyOrphan || volume.Spec.Source != nil {
		t.Errorf("%+v", volume)
	}
}
