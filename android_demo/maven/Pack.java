import com.android.apksig.ApkSigner;
import com.android.apksig.ApkVerifier;
import java.io.File;
import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.X509Certificate;
import java.util.List;

/** Signs an APK (v2 and v3), aligns what is stored, .so files to 16 KB, and verifies it: UNSIGNED SIGNED KEYSTORE PASSWORD. */
public class Pack {
    public static void main(String[] arguments) throws Exception {
        KeyStore keys = KeyStore.getInstance("PKCS12");
        char[] password = arguments[3].toCharArray();
        try (FileInputStream in = new FileInputStream(arguments[2])) {
            keys.load(in, password);
        }
        String alias = keys.aliases().nextElement();
        PrivateKey key = (PrivateKey) keys.getKey(alias, password);
        X509Certificate certificate = (X509Certificate) keys.getCertificate(alias);
        ApkSigner.SignerConfig signer = new ApkSigner.SignerConfig.Builder(alias, key, List.of(certificate)).build();
        new ApkSigner.Builder(List.of(signer))
                .setInputApk(new File(arguments[0]))
                .setOutputApk(new File(arguments[1]))
                .setV1SigningEnabled(false)
                .setV2SigningEnabled(true)
                .setV3SigningEnabled(true)
                .setAlignmentPreserved(false)
                .setLibraryPageAlignmentBytes(16384)
                .build()
                .sign();
        ApkVerifier.Result result = new ApkVerifier.Builder(new File(arguments[1])).build().verify();
        if (!result.isVerified() || !result.isVerifiedUsingV2Scheme() || !result.isVerifiedUsingV3Scheme()) {
            throw new IllegalStateException("not verified: " + result.getErrors());
        }
    }
}
