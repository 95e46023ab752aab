import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.rmi.server.RMISocketFactory;
import javax.net.ssl.SSLSocketFactory;

/**
 * The main class of `ringcheck jmx-proxy`: waits for ever, while Jolokia's agent in the same JVM answers.
 *
 * Java's own connections to JMX ports have no time limit of their own: a host that drops packets would hold a thread
 * for two minutes. With `-Dringcheck.tls=true` the RMI registry is asked over TLS too, as Cassandra's wants it.
 *
 * JmxProxy.class beside this file is what is run; a test compiles this file and compares.
 */
public final class JmxProxy extends RMISocketFactory {
    private static final int CONNECT_MILLIS = 3000;

    private final boolean tls = Boolean.getBoolean("ringcheck.tls");

    public static void main(String[] arguments) throws Exception {
        RMISocketFactory.setSocketFactory(new JmxProxy());
        Thread.currentThread().join();
    }

    @Override
    public Socket createSocket(String host, int port) throws IOException {
        Socket socket = new Socket();
        try {
            socket.connect(new InetSocketAddress(host, port), CONNECT_MILLIS);
            if (!tls) {
                return socket;
            }
            SSLSocketFactory factory = (SSLSocketFactory) SSLSocketFactory.getDefault();
            return factory.createSocket(socket, host, port, true);
        } catch (IOException | RuntimeException failure) {
            socket.close();
            throw failure;
        }
    }

    @Override
    public ServerSocket createServerSocket(int port) throws IOException {
        return new ServerSocket(port, 50, InetAddress.getLoopbackAddress());
    }
}
