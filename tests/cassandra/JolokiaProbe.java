import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javax.management.ObjectName;
import javax.management.StandardMBean;

/** Values and failures as Cassandra's MBeans have them, for the Jolokia agent in this JVM; it waits until it is killed. */
public class JolokiaProbe {
    public interface ProbeMBean {
        Map<List<String>, List<String>> getRanges(String keyspace);

        List<String> getLiveNodes();

        Map<InetAddress, Float> getOwnership();

        List<InetAddress> getEndpoints();

        long getStartTime();
    }

    public static class Probe implements ProbeMBean {
        private final InetAddress node;

        Probe() throws Exception {
            node = InetAddress.getByAddress("db1", new byte[] {10, 0, 0, 1});
        }

        public Map<List<String>, List<String>> getRanges(String keyspace) {
            if (!keyspace.equals("orders"))
                throw new AssertionError("Unknown keyspace " + keyspace);
            Map<List<String>, List<String>> ranges = new LinkedHashMap<>();
            for (int start = 0; start < 4; start++)
                ranges.put(List.of("" + start, "" + (start + 1)), List.of("10.0.0.1", "10.0.0.2"));
            return ranges;
        }

        public List<String> getLiveNodes() {
            return List.of("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4");
        }

        public Map<InetAddress, Float> getOwnership() {
            return Map.of(node, 0.5f);
        }

        public List<InetAddress> getEndpoints() {
            return List.of(node);
        }

        public long getStartTime() {
            return Long.MAX_VALUE;
        }
    }

    public static void main(String[] arguments) throws Exception {
        ManagementFactory.getPlatformMBeanServer()
            .registerMBean(new StandardMBean(new Probe(), ProbeMBean.class), new ObjectName("probe:type=Probe"));
        Thread.sleep(Long.MAX_VALUE);
    }
}
