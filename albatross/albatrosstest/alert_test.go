package albatrosstest

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// TestExpandLabel takes the server's application keys of RFC 8448, section 3.
func TestExpandLabel(t *testing.T) {
	secret, _ := hex.DecodeString("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")
	for label, want := range map[string]string{"key": "9f02283b6c9c07efc26bb9f2ac92e356", "iv": "cf782b88dd83549aadf1e984"} {
		got, err := expandLabel(sha256.New, secret, label, len(want)/2)
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%s: %x, %v, want %s", label, got, err, want)
		}
	}
}

// TestSendAlert opens the record with each cipher suite.
func TestSendAlert(t *testing.T) {
	for id, length := range map[uint16]int{tls.TLS_AES_128_GCM_SHA256: 32, tls.TLS_AES_256_GCM_SHA384: 48, tls.TLS_CHACHA20_POLY1305_SHA256: 32} {
		secret := bytes.Repeat([]byte{7}, length)
		log := fmt.Sprintf("CLIENT_TRAFFIC_SECRET_0 00 11\nSERVER_TRAFFIC_SECRET_0 00 %x\n", secret)
		var out bytes.Buffer
		if err := sendAlert(&out, tls.ConnectionState{CipherSuite: id}, []byte(log), alertCertificateExpired); err != nil {
			t.Fatal(err)
		}
		newHash, keyLength, newAEAD, _ := suite(id)
		key, _ := expandLabel(newHash, secret, "key", keyLength)
		iv, _ := expandLabel(newHash, secret, "iv", 12)
		aead, err := newAEAD(key)
		if err != nil {
			t.Fatal(err)
		}
		record := out.Bytes()
		plain, err := aead.Open(nil, iv, record[5:], record[:5])
		if err != nil || !bytes.Equal(plain, []byte{2, 45, 21}) {
			t.Errorf("%s: %x, %v", tls.CipherSuiteName(id), plain, err)
		}
	}
}

func TestSendAlertWithoutKeys(t *testing.T) {
	var out bytes.Buffer
	for what, tt := range map[string]struct {
		suite uint16
		log   string
	}{
		"not complete": {tls.TLS_AES_128_GCM_SHA256, "SERVER_HANDSHAKE_TRAFFIC_SECRET 00 11\n"},
		"cipher suite": {tls.TLS_RSA_WITH_AES_128_CBC_SHA, "SERVER_TRAFFIC_SECRET_0 00 11\n"},
		"invalid byte": {tls.TLS_AES_128_GCM_SHA256, "SERVER_TRAFFIC_SECRET_0 00 xx\n"},
	} {
		if err := sendAlert(&out, tls.ConnectionState{CipherSuite: tt.suite}, []byte(tt.log), 45); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if out.Len() > 0 {
		t.Errorf("%x was sent", out.Bytes())
	}
}
