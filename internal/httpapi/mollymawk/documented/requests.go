package documented

import (
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/internal/httpapi/apitest"
)

const (
	// LabelText is what is said of names that are none.
	LabelText = "invalid label (only [a-zA-Z0-9-.] allowed, 1 to 63 chars)"
	// Unknown is no token.
	Unknown   = "00000000-0000-4000-8000-000000000000"
	docConfig = `{
        "cpuid": 0,
        "memory": 64,
        "arguments": [],
        "fail_behaviour": "quit",
        "network_interfaces": [],
        "block_devices": []
      }`
)

// CreateForm is the document's, with some parts replaced; a nil value leaves
// a part out.
func CreateForm(changes map[string]any) []apitest.Part {
	return changed([]apitest.Part{
		{Name: "albatross_instance", Value: "eu-west-2"}, {Name: "unikernel_name", Value: "hello-world"}, {Name: "unikernel_force_create", Value: "false"},
		{Name: "molly_csrf", Value: "''"}, {Name: "unikernel_config", Value: docConfig}, {Name: "binary", Value: image, File: "hello_world.hvt"},
	}, changes)
}

// VolumeForm is the document's: the data come before what they are for.
func VolumeForm(changes map[string]any) []apitest.Part {
	return changed([]apitest.Part{
		{Name: "albatross_instance", Value: "eu-west-2"}, {Name: "block_data", Value: "hello block", File: "disk_image.img"}, {Name: "molly_csrf", Value: "''"},
		{Name: "json_data", Value: `{"block_name": "data-vol-1", "block_size": 1024, "block_compressed": false}`},
	}, changes)
}

func changed(form []apitest.Part, changes map[string]any) (out []apitest.Part) {
	for _, p := range form {
		value, change := changes[p.Name]
		switch v := value.(type) {
		case string:
			p.Value = v
		case nil:
			if change {
				continue
			}
		}
		out = append(out, p)
	}
	return out
}

func named(name, instance string) map[string]any {
	return map[string]any{"name": name, "albatross_instance": instance}
}

func block(name, instance string) map[string]any {
	return map[string]any{"block_name": name, "albatross_instance": instance}
}

func download(name, instance string) map[string]any {
	return map[string]any{"block_name": name, "albatross_instance": instance, "compression_level": 0}
}

func login(email, password string) apitest.Ask {
	return apitest.Ask{Path: "/api/login", JSON: map[string]any{"email": email, "password": password}}
}

func asUser(a apitest.Ask) apitest.Ask {
	a.Bearer = userToken
	return a
}

func asAdmin(a apitest.Ask) apitest.Ask {
	a.Bearer = adminToken
	return a
}

// image is a unikernel without devices.
var image = func() string {
	content, err := solo5.Build(solo5.Image{Target: solo5.HVT, ABIVersion: 2}, nil)
	if err != nil {
		panic(err)
	}
	return string(content)
}()
